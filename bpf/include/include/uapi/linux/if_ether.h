/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* libbcc brings its own bpf.h; the rest of this name is not used by our programs. */
#pragma once
