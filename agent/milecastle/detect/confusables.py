"""Letters and signs that look like ASCII: what each imitates.

Chosen from the Cyrillic, Greek, Armenian, small-capital and punctuation entries of Unicode's
confusables (UTS 39) that occur in fonts in use; compatibility forms are left to NFKC.
"""

from __future__ import annotations

from collections.abc import Mapping

GROUPS: tuple[tuple[str, str], ...] = (
    ("аеорсухіјѕһԁԛԝѵгктмпвнӏАВЕКМНО", "aeopcyxijshdqwvrktmnbhlABEKMHO"),
    ("РСТУХІЈЅԌԚԜѴЗбҒӀ", "PCTYXIJSGQWV36FI"),
    ("αβγεηικνορστυχωϲϳΑΒΕΖΗΙΚΜΝΟΡΤΥ", "abyenikvopotuxwcjABEZHIKMNOPTY"),
    ("ΧϹ", "XC"),
    ("ոսօցհյզք", "nuoghjqp"),
    ("Ꮃıɡɑɩʟᴀʙᴄᴅᴇɢʜɪᴊᴋᴍɴᴏᴘʀᴛᴜᴠᴡʏᴢ", "WigaiLABCDEGHIJKMNOPRTUVWYZ"),
    ("‐‑‒–—−﹘ː꞉∶⁄∕﹍﹎＿‗․＝᐀‚“”„‘’ʼ«»", '-------::://____.==,"""\'\'\'""'),
)

FOLD: Mapping[str, str] = {
    odd: plain for odds, plains in GROUPS for odd, plain in zip(odds, plains, strict=True)
}
