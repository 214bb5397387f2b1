/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Fixed-width integers under the kernel's names. */
#pragma once
typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
