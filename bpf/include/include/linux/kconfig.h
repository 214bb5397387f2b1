/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* BCC forces this file in before anything else, and looks for it to recognise a kernel tree. */
#pragma once
#define CONFIG_BPF_SYSCALL 1
#define CONFIG_64BIT 1
