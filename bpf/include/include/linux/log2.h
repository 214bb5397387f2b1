/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* BCC includes it for a table type that no program here has. */
#pragma once
