/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* BCC gives ring buffer sizes in pages. Systems with larger pages round them up themselves. */
#pragma once
#define PAGE_SIZE 4096UL
