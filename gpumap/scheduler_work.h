#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "gpumap/scheduler.h"

namespace kvfs::gpumap {

/// Copies that go to the device together.
struct Scheduler::Batch {
    JobPtr job;
    std::vector<Copy> copies;
    std::uint64_t bytes = 0;
    Staging::Run staging;  ///< where they come from; none: from the daemon's memory
};

/// Chunks that are being read.
struct Scheduler::Read {
    JobPtr job;
    ChunkRead chunks;
    std::shared_ptr<const FileLease> lease;
    Staging::Run staging;
};

/// What is to be done once the mutex is free.
struct Scheduler::Work {
    std::vector<std::unique_ptr<Batch>> batches;
    std::vector<std::unique_ptr<Read>> reads;
    std::vector<protocol::Release> releases;
    std::vector<JobFile> wanted;   ///< leases to ask for
    std::vector<JobFile> missing;  ///< files that are gone: find out why
    std::vector<JobFile> filling;  ///< files of which more is to come
    std::vector<JobPtr> settled;   ///< jobs of which some bytes have been: tell who waits
    std::vector<JobPtr> ended;

    bool empty() const {
        return batches.empty() && reads.empty() && releases.empty() && wanted.empty() &&
               missing.empty() && filling.empty() && settled.empty() && ended.empty();
    }
};

}  // namespace kvfs::gpumap
