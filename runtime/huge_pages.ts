/**
 * Huge pages for an agent's large arrays.
 *
 * New memory is what a large value costs most: each page of 4 KiB is a fault of its own when it is first written
 * to. Most distributions of Linux give pages of 2 MiB only to who asks for them, and glibc asks where this variable
 * says so. Other systems, and what has a malloc of its own, take no notice.
 *
 * @module
 */

/** The variable. */
export const NAME = "GLIBC_TUNABLES";
/** What it is set to where the host says nothing else. The agent takes it away again: its programs decide for themselves. */
export const VALUE = "glibc.malloc.hugetlb=1";
