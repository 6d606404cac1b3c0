// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fault-around for User Mode Linux: one trap maps a whole window of pages instead of one.
 *
 * A page fault of a process in the guest is a signal on the host, a switch to the guest kernel's process, and an mmap() that the
 * process is made to call: 65 us where this was measured, against less than 1 us on the host. Starting a Python program costs some
 * ten thousand of them, which is most of what it costs at all. The kernel's own fault-around for files does not help: User Mode Linux
 * tells the host about the one page that was asked for, so that its neighbours trap again.
 *
 * build.sh compiles this file into arch/um/kernel and calls it from handle_page_fault(), where flush_tlb_page() is called otherwise.
 * Both hold mmap_lock for reading.
 */

#include <linux/mm.h>
#include <asm/tlbflush.h>

/* 64 KiB. Aligned, so that a window never crosses a page table. */
#define WINDOW (16 * PAGE_SIZE)

void um_fault_around(struct vm_area_struct *vma, unsigned long address, int is_write)
{
	unsigned long window = address & ~(WINDOW - 1);
	unsigned long start = max(window, vma->vm_start);
	unsigned long end = min(window + WINDOW, vma->vm_end);
	unsigned long at;

	/*
	 * Anonymous memory (heap, stack) that a program writes is most likely written on, for the first time or, after a
	 * fork, for the first time in this process: Python counts references in the objects themselves. Private pages of
	 * files are left alone: writing them would copy what may never be needed.
	 */
	if (is_write && vma_is_anonymous(vma)) {
		for (at = start; at < end; at += PAGE_SIZE) {
			pte_t *pte = pte_offset_kernel(pmd_off(vma->vm_mm, at), at);

			if (!pte_none(*pte) && !(pte_present(*pte) && !pte_write(*pte)))
				continue; /* mapped for writing already, or swapped out */
			/* Without FAULT_FLAG_ALLOW_RETRY the lock is still held afterwards. */
			if (handle_mm_fault(vma, at, FAULT_FLAG_WRITE | FAULT_FLAG_USER, NULL) & VM_FAULT_ERROR)
				break; /* no memory: the page itself will say so, if it is ever needed */
		}
	}
	flush_tlb_range(vma, start, end);
}
