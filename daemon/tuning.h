#pragma once

namespace kvfs {

/// Turns on what the kernel has switched off by default and kvfs gains from: 2 MiB pages for shared
/// memory that asks for them, and FUSE over io_uring for file systems that ask for it. Both are for
/// the whole machine and stay on; neither changes anything for a program that does not ask. Logs a
/// line for each that it turns on, or may not. Before the tiers and the mount are made.
void tune_kernel();

}  // namespace kvfs
