#include <algorithm>
#include <span>
#include <utility>

#include "fs/base/crc32c.h"
#include "gpumap/scheduler.h"
#include "gpumap/scheduler_work.h"

namespace kvfs::gpumap {
namespace {

/// One batch: enough to keep a device busy while the next is made, little enough that a more urgent
/// job does not wait long.
constexpr std::uint64_t kBatchBytes = 4 << 20;
constexpr std::size_t kBatchCopiesMax = 1024;

}  // namespace

void Scheduler::pump(Work& work) {
    // One for each that was given back; one also when none is held or asked for any more, which
    // tells whether the daemon has any to give at all.
    std::size_t free_leases = work.releases.size();
    while (!starved_.empty() &&
           (free_leases > 0 || (leases_ == 0 && asked_ == 0 && work.wanted.empty()))) {
        JobFile file = std::move(starved_.front());
        starved_.pop_front();
        if (file.first->files[file.second].bytes_left == 0) continue;  // its job was stopped
        work.wanted.push_back(std::move(file));
        if (free_leases > 0) --free_leases;
    }
    // What was read goes first: it holds staging memory.
    while (!landed_.empty() && loads_.window_used < options_.window_bytes) {
        loads_.window_used += landed_.front()->bytes;
        ++under_way_;
        work.batches.push_back(std::move(landed_.front()));
        landed_.pop_front();
    }
    pump_copies(loads_, work);
    pump_copies(saves_, work);
    pump_reads(work);
}

Scheduler::Lane& Scheduler::lane_of(const Job& job) {
    return job.kind == Job::Kind::save ? saves_ : loads_;
}

void Scheduler::pump_copies(Lane& lane, Work& work) {
    while (!lane.copyable.empty() && lane.window_used < options_.window_bytes) {
        const JobPtr job = *lane.copyable.begin();
        while (job->copy_group < job->queues.size() && !job->queues[job->copy_group].has_copies())
            ++job->copy_group;
        if (job->copy_group == job->queues.size()) {
            lane.copyable.erase(lane.copyable.begin());
            continue;
        }
        Job::Queue& queue = job->queues[job->copy_group];
        auto batch = std::make_unique<Batch>();
        batch->job = job;
        const auto copies = std::span(queue.copies).subspan(queue.next_copy);
        std::size_t count = 0;
        for (; count < std::min(copies.size(), kBatchCopiesMax) && batch->bytes < kBatchBytes;
             ++count)
            batch->bytes += copies[count].bytes;
        batch->copies.assign(copies.begin(), copies.begin() + static_cast<std::ptrdiff_t>(count));
        queue.next_copy += count;
        if (!queue.has_copies()) queue.copies.clear(), queue.next_copy = 0;
        lane.window_used += batch->bytes;
        ++under_way_;
        work.batches.push_back(std::move(batch));
    }
}

void Scheduler::pump_reads(Work& work) {
    while (!readable_.empty()) {
        const JobPtr job = *readable_.begin();
        while (job->read_group < job->queues.size() && job->queues[job->read_group].reads.empty())
            ++job->read_group;
        if (job->read_group == job->queues.size()) {
            readable_.erase(readable_.begin());
            continue;
        }
        auto& queue = job->queues[job->read_group].reads;
        ChunkRead& next = queue.front();
        const Staging::Run run = staging_.take(next.chunks);
        if (run.count == 0) return;
        auto read = std::make_unique<Read>();
        read->job = job;
        read->lease = job->files[next.file].lease;
        read->staging = run;
        if (run.count == next.chunks) {
            read->chunks = std::move(next);
            queue.pop_front();
        } else {
            // As much of it as there is room for; the rest stays first in the queue.
            const std::uint64_t border = (next.first_chunk + run.count) * kChunkBytes;
            const auto rest =
                std::find_if(next.parts.begin(), next.parts.end(),
                             [&](const auto& part) { return part.file_off >= border; });
            read->chunks = {next.file, next.first_chunk, run.count, {next.parts.begin(), rest}};
            next.parts.erase(next.parts.begin(), rest);
            next.first_chunk += run.count;
            next.chunks -= run.count;
        }
        ++under_way_;
        work.reads.push_back(std::move(read));
    }
}

/// Does what was decided under the mutex.
void Scheduler::run(Work work) {
    for (const JobPtr& job : work.settled) job->outcome.tell();
    for (auto& batch : work.batches) {
        const Direction direction =
            batch->job->kind == Job::Kind::save ? Direction::out : Direction::in;
        // std::function wants what can be copied.
        const std::shared_ptr<Batch> shared(std::move(batch));
        const Ticket ticket =
            device_.submit(direction, shared->copies,
                           [this, shared](gm_status status) { copied(*shared, status); });
        const auto& pieces = shared->job->plan.pieces;
        const auto& handed = shared->copies;
        for (std::size_t i = 0; i < handed.size();) {
            const std::uint32_t group = pieces[handed[i].piece].group;
            std::uint64_t bytes = 0;
            for (; i < handed.size() && pieces[handed[i].piece].group == group; ++i)
                bytes += handed[i].bytes;
            shared->job->outcome.hand_over(group, bytes, ticket);
        }
    }
    for (auto& one : work.reads) {
        const std::shared_ptr<Read> read(std::move(one));
        reader_.read(
            *read->lease, read->chunks.first_chunk, staging_.memory(read->staging),
            [this, read](const std::vector<gm_status>& statuses) { landed(*read, statuses); });
    }
    if (!work.releases.empty()) daemon_.release(work.releases);
    if (!work.wanted.empty()) ask(std::move(work.wanted));
    for (const JobFile& file : work.missing) find_out_why(file);
    for (const JobFile& file : work.filling) await(file);
    for (const JobPtr& job : work.ended) {
        if (job->on_end) job->on_end(job->outcome.poll(GM_ALL_GROUPS));
    }
    if (!work.ended.empty()) {
        MutexLock lock(mutex_);
        ending_ -= work.ended.size();
        if (ending_ == 0) idle_.notify_all();
    }
}

void Scheduler::copied(Batch& batch, gm_status status) {
    Work work;
    {
        MutexLock lock(mutex_);
        lane_of(*batch.job).window_used -= batch.bytes;
        --under_way_;
        if (batch.staging.count > 0) staging_.give_back(batch.staging);
        std::uint64_t& moved = batch.job->kind == Job::Kind::save ? moved_.saved
                               : batch.staging.count > 0          ? moved_.file
                                                                  : moved_.dram;
        if (status == GM_OK) moved += batch.bytes;
        settle_copies(batch, status, work);
        pump(work);
        if (under_way_ == 0) idle_.notify_all();
    }
    run(std::move(work));
}

void Scheduler::settle_copies(const Batch& batch, gm_status status, Work& work) {
    const auto& pieces = batch.job->plan.pieces;
    for (std::size_t i = 0; i < batch.copies.size();) {
        const Copy& first = batch.copies[i];
        std::uint64_t bytes = first.bytes;
        // What went well is counted together.
        for (++i; status == GM_OK && i < batch.copies.size(); ++i) {
            const Copy& next = batch.copies[i];
            if (next.file != first.file || pieces[next.piece].group != pieces[first.piece].group)
                break;
            bytes += next.bytes;
        }
        batch.job->outcome.take_back(pieces[first.piece].group, bytes);
        settle(batch.job, first.file, first.piece, file_offset(batch.job->plan, first), bytes,
               status, work);
    }
}

void Scheduler::landed(Read& read, const std::vector<gm_status>& statuses) {
    Work work;
    {
        MutexLock lock(mutex_);
        --under_way_;
        auto batch = std::make_unique<Batch>();
        batch->job = read.job;
        batch->staging = read.staging;
        const std::uint64_t start = read.chunks.first_chunk * kChunkBytes;
        std::byte* memory = staging_.memory(read.staging).data();
        for (const ChunkRead::Part& part : read.chunks.parts) {
            gm_status status = statuses[(part.file_off - start) / kChunkBytes];
            if (status == GM_OK) status = read.job->stopped;
            if (status != GM_OK) {
                settle(read.job, read.chunks.file, part.piece, part.file_off, part.bytes, status,
                       work);
                continue;
            }
            batch->copies.push_back({part.device, memory + (part.file_off - start), part.bytes,
                                     read.chunks.file, part.piece});
            batch->bytes += part.bytes;
        }
        if (batch->copies.empty())
            staging_.give_back(read.staging);
        else
            landed_.push_back(std::move(batch));
        pump(work);
        if (under_way_ == 0) idle_.notify_all();
    }
    run(std::move(work));
}

}  // namespace kvfs::gpumap
