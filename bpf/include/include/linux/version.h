/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Only cgroup, socket and tracepoint programs are loaded, and none of them is tied to a version. */
#pragma once
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 15, 0)
