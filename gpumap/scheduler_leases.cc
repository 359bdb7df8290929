#include <algorithm>
#include <string_view>
#include <utility>

#include "gpumap/scheduler.h"
#include "gpumap/scheduler_work.h"
#include "gpumap/status.h"

namespace kvfs::gpumap {
namespace {

std::uint64_t end_of(const Plan& plan, const Copy& copy) {
    return file_offset(plan, copy) + copy.bytes;
}

/// A copy of the job's may be made now.
void enqueue(Job& job, std::uint32_t group, const Copy& copy) {
    auto& copies = job.queues[group].copies;
    if (copies.empty()) copies.reserve(job.plan.group_pieces[group]);
    copies.push_back(copy);
    job.copy_group = std::min<std::size_t>(job.copy_group, group);
}

}  // namespace

/// Asks for leases, one request for all of a job's files.
void Scheduler::ask(std::vector<JobFile> files) {
    for (std::size_t at = 0; at < files.size();) {
        const JobPtr job = files[at].first;
        auto numbers = std::make_shared<std::vector<std::uint32_t>>();
        std::vector<std::uint64_t> inodes;
        {
            MutexLock lock(mutex_);
            for (; at < files.size() && files[at].first == job; ++at) {
                Job::File& file = job->files[files[at].second];
                if (file.bytes_left == 0) continue;  // stopped meanwhile
                ++asked_;
                file.asked_epoch = release_epoch_;
                numbers->push_back(files[at].second);
                inodes.push_back(file.version.inode);
            }
        }
        // Answers come in the order of the inodes, in one or more calls, one after the other.
        auto next = std::make_shared<std::size_t>(0);
        daemon_.lease(inodes, [this, job, numbers, next](std::vector<LeaseAnswer> answers) {
            const std::size_t count = answers.size();
            const auto of = std::span(*numbers).subspan(std::exchange(*next, *next + count), count);
            leased(job, of, std::move(answers));
        });
    }
}

void Scheduler::leased(const JobPtr& job, std::span<const std::uint32_t> files,
                       std::vector<LeaseAnswer> answers) {
    Work work;
    {
        MutexLock lock(mutex_);
        for (std::size_t i = 0; i < files.size(); ++i)
            take_lease(job, files[i], std::move(answers[i]), work);
        list(job);
        pump(work);
    }
    run(std::move(work));
}

void Scheduler::take_lease(const JobPtr& job, std::uint32_t number, LeaseAnswer answer,
                           Work& work) {
    Job::File& file = job->files[number];
    --asked_;
    const bool was_dropped = file.bytes_left == 0;
    if (answer.lease != nullptr) {
        const FileLease& lease = *answer.lease;
        const bool is_same = lease.inode == file.version.inode && lease.size == file.version.size &&
                             lease.mtime_ns == file.version.mtime_ns;
        if (was_dropped || !is_same) {
            work.releases.push_back({lease.number, 0});
            ++release_epoch_;
            if (!was_dropped) refuse(job, number, GM_ESTALE, work);
            return;
        }
        file.lease = std::move(answer.lease);
        ++leases_;
        cut(job, number, work);
        return;
    }
    if (was_dropped) return;
    switch (answer.status) {
        case EAGAIN:
            // As many as one client may have: ask again when some have been given back.
            if (file.asked_epoch != release_epoch_)
                work.wanted.emplace_back(job, number);
            else if (leases_ > 0)
                starved_.emplace_back(job, number);
            else
                refuse(job, number, GM_EAGAIN, work);
            return;
        case ENOENT:
        case ESTALE:
            work.missing.emplace_back(job, number);
            return;
        default:
            // ENOTCONN: the daemon went away under the job.
            refuse(job, number, answer.status == ENOTCONN ? GM_EIO : from_errno(answer.status),
                   work);
    }
}

/// A leased file's number is gone. Was it replaced under its name, or evicted?
void Scheduler::find_out_why(const JobFile& file) {
    const auto& [job, number] = file;
    const std::string_view path = job->files[number].version.path;
    daemon_.look_up(std::span(&path, 1), [this, file](const Daemon::Lookups& lookups) {
        const protocol::LookupEntry& entry = lookups.front();
        gm_status status = GM_EEVICTED;
        if (entry.inode != 0) status = GM_ESTALE;
        if (entry.status == ENOTCONN) status = GM_EIO;
        Work work;
        {
            MutexLock lock(mutex_);
            refuse(file.first, file.second, status, work);
            pump(work);
        }
        run(std::move(work));
    });
}

/// No byte of the file, which has no lease, can be moved.
void Scheduler::refuse(const JobPtr& job, std::uint32_t number, gm_status status, Work& work) {
    if (job->files[number].bytes_left == 0) return;
    const Plan& plan = job->plan;
    for (std::uint32_t p = plan.first_piece[number]; p < plan.first_piece[number + 1]; ++p)
        settle(job, number, p, plan.pieces[p].file_off, plan.pieces[p].length, status, work);
}

/// The file has its lease: queues what is to be done with its bytes.
void Scheduler::cut(const JobPtr& job, std::uint32_t number, Work& work) {
    Job::File& file = job->files[number];
    const FileLease& lease = *file.lease;
    if (lease.on_ssd()) {
        for (auto& [group, read] : cut_at_chunks(job->plan, number)) {
            job->queues[group].reads.push_back(std::move(read));
            job->read_group = std::min<std::size_t>(job->read_group, group);
        }
        return;
    }
    cut_at_segments(job->plan, number, lease, [&](std::uint32_t group, const Copy& copy) {
        if (lease.filling)
            file.arriving.emplace_back(group, copy);
        else
            enqueue(*job, group, copy);
    });
    if (!lease.filling) return;
    std::stable_sort(file.arriving.begin(), file.arriving.end(), [&](const auto& a, const auto& b) {
        return end_of(job->plan, a.second) > end_of(job->plan, b.second);
    });
    work.filling.emplace_back(job, number);
}

/// Waits for the nearest of what is still to come.
void Scheduler::await(const JobFile& file) {
    std::uint64_t lease = 0;
    std::uint64_t bytes = 0;
    {
        MutexLock lock(mutex_);
        const Job::File& its_file = file.first->files[file.second];
        if (its_file.arriving.empty()) return;  // stopped meanwhile
        lease = its_file.lease->number;
        bytes = end_of(file.first->plan, its_file.arriving.back().second);
    }
    daemon_.await(lease, bytes, [this, file](int status, std::uint64_t landed) {
        arrived(file, status, landed);
    });
}

void Scheduler::arrived(const JobFile& of, int status, std::uint64_t bytes) {
    const auto& [job, number] = of;
    Work work;
    {
        MutexLock lock(mutex_);
        auto& arriving = job->files[number].arriving;
        if (status != 0) {
            gm_status why = from_errno(status);
            if (status == EBADMSG) why = GM_ECHECKSUM;
            if (status == ENOTCONN) why = GM_EIO;  // the daemon went away under the job
            settle_arriving(job, number, why, work);
        }
        while (!arriving.empty() && end_of(job->plan, arriving.back().second) <= bytes) {
            enqueue(*job, arriving.back().first, arriving.back().second);
            arriving.pop_back();
        }
        if (!arriving.empty()) work.filling.push_back(of);
        list(job);
        pump(work);
    }
    run(std::move(work));
}

/// What has not landed never will, or is not wanted any more.
void Scheduler::settle_arriving(const JobPtr& job, std::uint32_t number, gm_status status,
                                Work& work) {
    for (const auto& [group, copy] : std::exchange(job->files[number].arriving, {}))
        settle(job, copy, status, work);
}

}  // namespace kvfs::gpumap
