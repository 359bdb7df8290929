#include "gpumap/outcome.h"

#include <algorithm>
#include <cassert>

namespace kvfs::gpumap {

Outcome::Outcome(std::vector<std::uint32_t> groups, const std::vector<std::uint64_t>& group_bytes)
    : groups_(std::move(groups)), parts_(groups_.size()), parts_left_(groups_.size()) {
    for (std::size_t i = 0; i < group_bytes.size(); ++i) parts_[i].bytes_left = group_bytes[i];
}

bool Outcome::start(const Notice& notice, const Plan& plan) {
    MutexLock lock(mutex_);
    notice_ = notice;
    for (const auto& [index, group] : plan.too_short) {
        errors_.emplace_back(index, GM_ESHORT);
        parts_[group].status = job_.status = GM_ESHORT;
    }
    for (std::size_t i = 0; i < parts_.size(); ++i) end_if_done(i);
    if (parts_.empty()) end(job_, GM_ALL_GROUPS);
    return job_.ended;
}

void Outcome::fail(std::uint32_t index, gm_status status) {
    MutexLock lock(mutex_);
    errors_.emplace_back(index, status);
}

bool Outcome::settle(std::uint32_t group, std::uint64_t bytes, gm_status status) {
    MutexLock lock(mutex_);
    Part& part = parts_[group];
    assert(bytes <= part.bytes_left);
    part.bytes_left -= bytes;
    if (status == GM_OK) {
        part.moved += bytes;
        job_.moved += bytes;
    } else {
        if (part.status == GM_OK) part.status = status;
        if (job_.status == GM_OK) job_.status = status;
    }
    return end_if_done(group);
}

void Outcome::tell() const {
    ended_.notify_all();
    handed_over_.notify_all();
}

void Outcome::hand_over(std::uint32_t group, std::uint64_t bytes, Ticket batch) {
    MutexLock lock(mutex_);
    Part& part = parts_[group];
    part.with_device += static_cast<std::int64_t>(bytes);
    if (!part.ended && (part.batches.empty() || part.batches.back() != batch))
        part.batches.push_back(batch);
    if (is_handed_over(part)) handed_over_.notify_all();
}

void Outcome::take_back(std::uint32_t group, std::uint64_t bytes) {
    MutexLock lock(mutex_);
    parts_[group].with_device -= static_cast<std::int64_t>(bytes);
}

bool Outcome::is_handed_over(const Part& part) const {
    return part.ended || static_cast<std::int64_t>(part.bytes_left) == part.with_device;
}

bool Outcome::end_if_done(std::size_t group) {
    Part& part = parts_[group];
    if (part.bytes_left > 0 || part.ended) return false;
    end(part, groups_[group]);
    if (--parts_left_ > 0) return false;
    end(job_, GM_ALL_GROUPS);
    return true;
}

void Outcome::end(Part& part, std::uint32_t number) {
    part.ended = true;
    part.batches = {};
    const std::uint32_t wanted =
        number == GM_ALL_GROUPS ? GM_NOTIFY | GM_NOTIFY_GROUPS : std::uint32_t{GM_NOTIFY_GROUPS};
    if ((notice_.flags & wanted) != 0)
        notice_.queue->push({notice_.cookie, notice_.job, number, part.status, part.moved});
}

Outcome::Part& Outcome::part(std::uint32_t number) {
    if (number == GM_ALL_GROUPS) return job_;
    const auto found = std::lower_bound(groups_.begin(), groups_.end(), number);
    return parts_[static_cast<std::size_t>(found - groups_.begin())];
}

const Outcome::Part& Outcome::part(std::uint32_t number) const {
    return const_cast<Outcome*>(this)->part(number);
}

bool Outcome::has_group(std::uint32_t number) const {
    return number == GM_ALL_GROUPS || std::binary_search(groups_.begin(), groups_.end(), number);
}

gm_status Outcome::poll(std::uint32_t number) const {
    MutexLock lock(mutex_);
    const Part& asked = part(number);
    return asked.ended ? asked.status : GM_PENDING;
}

gm_status Outcome::wait(std::uint32_t number, std::optional<Deadline> deadline) const {
    MutexLock lock(mutex_);
    const Part& asked = part(number);
    while (!asked.ended) {
        if (!deadline)
            ended_.wait(lock);
        else if (!ended_.wait_until(lock, *deadline) && !asked.ended)
            return GM_PENDING;
    }
    return asked.status;
}

std::vector<Ticket> Outcome::wait_handed_over(std::uint32_t number) const {
    MutexLock lock(mutex_);
    const std::size_t first =
        number == GM_ALL_GROUPS ? 0 : static_cast<std::size_t>(&part(number) - parts_.data());
    const std::size_t end = number == GM_ALL_GROUPS ? parts_.size() : first + 1;
    std::vector<Ticket> batches;
    for (std::size_t i = first; i < end; ++i) {
        while (!is_handed_over(parts_[i])) handed_over_.wait(lock);
        batches.insert(batches.end(), parts_[i].batches.begin(), parts_[i].batches.end());
    }
    return batches;
}

std::vector<std::pair<std::uint32_t, gm_status>> Outcome::errors() const {
    MutexLock lock(mutex_);
    auto errors = errors_;
    lock.unlock();
    std::sort(errors.begin(), errors.end());
    return errors;
}

std::uint64_t Outcome::moved_bytes() const {
    MutexLock lock(mutex_);
    return job_.moved;
}

}  // namespace kvfs::gpumap
