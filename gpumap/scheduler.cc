#include "gpumap/scheduler.h"

#include <algorithm>
#include <cassert>
#include <span>
#include <tuple>

#include "fs/base/crc32c.h"
#include "gpumap/scheduler_work.h"
#include "gpumap/status.h"

namespace kvfs::gpumap {

bool Scheduler::Before::operator()(const JobPtr& a, const JobPtr& b) const {
    return std::tuple(-std::int64_t{a->priority}, a->deadline, a->sequence) <
           std::tuple(-std::int64_t{b->priority}, b->deadline, b->sequence);
}

Scheduler::Scheduler(Device& device, Daemon& daemon, FileReader& reader, Staging& staging,
                     std::function<void()> wake, Options options)
    : device_(device),
      daemon_(daemon),
      reader_(reader),
      staging_(staging),
      wake_(std::move(wake)),
      options_(options) {}

Scheduler::~Scheduler() { assert(jobs_.empty() && under_way_ == 0); }

Status Scheduler::add(const JobPtr& job) {
    Work work;
    bool is_first_deadline = false;
    {
        MutexLock lock(mutex_);
        if (stopping_) return Error{ECANCELED, "the context is being closed"};
        if (jobs_.size() >= options_.jobs_max)
            return Error{EAGAIN, std::to_string(jobs_.size()) + " jobs have not ended"};
        job->sequence = next_sequence_++;
        jobs_.insert(job);
        if (job->deadline != Deadline::max()) {
            const auto at = deadlines_.emplace(job->deadline, job).first;
            is_first_deadline = at == deadlines_.begin();
        }
        for (std::uint32_t f = 0; f < job->files.size(); ++f) {
            Job::File& file = job->files[f];
            for (std::uint32_t p = job->plan.first_piece[f]; p < job->plan.first_piece[f + 1]; ++p)
                file.bytes_left += job->plan.pieces[p].length;
            if (file.bytes_left == 0) continue;
            if (job->kind == Job::Kind::load)
                work.wanted.emplace_back(job, f);
            else
                cut(job, f, work);
        }
        list(job);
        pump(work);
    }
    if (is_first_deadline) wake_();
    run(std::move(work));
    return {};
}

void Scheduler::reached(const JobPtr& job) {
    Work work;
    {
        MutexLock lock(mutex_);
        job->ready = true;
        list(job);
        pump(work);
    }
    run(std::move(work));
}

void Scheduler::reprioritize(const JobPtr& job, std::int32_t priority) {
    MutexLock lock(mutex_);
    unlist(job);
    job->priority = priority;
    list(job);
}

void Scheduler::stop(const JobPtr& job, gm_status status) {
    Work work;
    {
        MutexLock lock(mutex_);
        drop(job, status, work);
        pump(work);
    }
    run(std::move(work));
}

/// Settles what nobody else has: neither the device nor the ring nor, of a commit, the daemon.
void Scheduler::drop(const JobPtr& job, gm_status status, Work& work) {
    if (job->stopped != GM_OK || !jobs_.contains(job)) return;
    if (job->kind == Job::Kind::commit) {
        if (job->publishing) return;
        job->stopped = status;
        work.settled.push_back(job);
        if (job->outcome.settle(0, 1, status)) finish(job, work);
        return;
    }
    unlist(job);
    job->stopped = status;
    for (Job::Queue& queue : job->queues) {
        const std::size_t first = std::exchange(queue.next_copy, 0);
        const std::vector<Copy> copies = std::exchange(queue.copies, {});
        for (const Copy& copy : std::span(copies).subspan(first)) settle(job, copy, status, work);
        for (const ChunkRead& read : std::exchange(queue.reads, {})) {
            for (const ChunkRead::Part& part : read.parts)
                settle(job, read.file, part.piece, part.file_off, part.bytes, status, work);
        }
    }
    for (std::uint32_t f = 0; f < job->files.size(); ++f) {
        settle_arriving(job, f, status, work);
        if (job->files[f].lease == nullptr) refuse(job, f, status, work);
    }
}

bool Scheduler::publish(const JobPtr& job, std::uint64_t lease) {
    {
        MutexLock lock(mutex_);
        if (job->stopped != GM_OK) return false;
        job->publishing = true;
    }
    daemon_.publish(lease, [this, job](int status) { published(job, status); });
    return true;
}

void Scheduler::published(const JobPtr& job, int status) {
    // The request may have been carried out.
    const gm_status result = status == ENOTCONN ? GM_EIO : from_errno(status);
    Work work;
    {
        MutexLock lock(mutex_);
        job->publishing = false;
        work.settled.push_back(job);
        if (job->outcome.settle(0, 1, result)) finish(job, work);
    }
    run(std::move(work));
}

Deadline Scheduler::tick() {
    Work work;
    Deadline next = Deadline::max();
    {
        MutexLock lock(mutex_);
        const Deadline now = Clock::now();
        while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
            const JobPtr job = deadlines_.begin()->second;
            deadlines_.erase(deadlines_.begin());
            drop(job, GM_ETIMEDOUT, work);
        }
        if (!deadlines_.empty()) next = deadlines_.begin()->first;
        if (!work.empty()) pump(work);
    }
    run(std::move(work));
    return next;
}

void Scheduler::stop_all() {
    Work work;
    {
        MutexLock lock(mutex_);
        stopping_ = true;
        const std::vector<JobPtr> jobs(jobs_.begin(), jobs_.end());
        for (const JobPtr& job : jobs) drop(job, GM_ECANCELLED, work);
        pump(work);
    }
    run(std::move(work));
    MutexLock lock(mutex_);
    while (!jobs_.empty() || under_way_ > 0 || ending_ > 0) idle_.wait(lock);
}

Scheduler::Moved Scheduler::moved() const {
    MutexLock lock(mutex_);
    return moved_;
}

void Scheduler::list(const JobPtr& job) {
    if (!job->ready || job->stopped != GM_OK) return;
    const auto queues = std::span(job->queues);
    const auto has_copies = [](const Job::Queue& queue) { return queue.has_copies(); };
    const auto has_reads = [](const Job::Queue& queue) { return !queue.reads.empty(); };
    if (std::any_of(queues.begin(), queues.end(), has_copies)) lane_of(*job).copyable.insert(job);
    if (std::any_of(queues.begin(), queues.end(), has_reads)) readable_.insert(job);
}

void Scheduler::unlist(const JobPtr& job) {
    lane_of(*job).copyable.erase(job);
    readable_.erase(job);
}

void Scheduler::settle(const JobPtr& job, const Copy& copy, gm_status status, Work& work) {
    settle(job, copy.file, copy.piece, file_offset(job->plan, copy), copy.bytes, status, work);
}

void Scheduler::settle(const JobPtr& job, std::uint32_t file, std::uint32_t piece,
                       std::uint64_t file_off, std::uint64_t bytes, gm_status status, Work& work) {
    const Piece& whole = job->plan.pieces[piece];
    if (status != GM_OK) {
        if (job->failed.empty()) job->failed.resize(job->plan.ranges.size());
        const auto first = job->plan.ranges.begin() + whole.first_range;
        // The last range that begins at or before file_off, and those after it that begin before
        // the end.
        auto range = std::upper_bound(
            first, first + whole.n_ranges, file_off,
            [](std::uint64_t offset, const PlannedRange& one) { return offset < one.file_off; });
        --range;
        for (; range != first + whole.n_ranges && range->file_off < file_off + bytes; ++range) {
            const auto place = static_cast<std::size_t>(range - job->plan.ranges.begin());
            if (job->failed[place]) continue;
            job->failed[place] = true;
            job->outcome.fail(range->index, status);
        }
    } else {
        job->files[file].bytes_read += bytes;
    }
    Job::File& its_file = job->files[file];
    assert(bytes <= its_file.bytes_left);
    its_file.bytes_left -= bytes;
    if (its_file.bytes_left == 0 && its_file.lease != nullptr && job->kind == Job::Kind::load) {
        work.releases.push_back({its_file.lease->number, its_file.bytes_read});
        its_file.lease = nullptr;
        --leases_;
        ++release_epoch_;
    }
    if (work.settled.empty() || work.settled.back() != job) work.settled.push_back(job);
    if (job->outcome.settle(whole.group, bytes, status)) finish(job, work);
}

/// The job has ended.
void Scheduler::finish(const JobPtr& job, Work& work) {
    unlist(job);
    if (job->deadline != Deadline::max()) deadlines_.erase({job->deadline, job});
    if (jobs_.erase(job) == 0) return;
    ++ending_;
    work.ended.push_back(job);
}

}  // namespace kvfs::gpumap
