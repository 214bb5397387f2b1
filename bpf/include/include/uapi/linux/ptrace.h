/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* BCC mentions the type; no probe here reads registers. */
#pragma once
struct pt_regs {
	unsigned long unused;
};
