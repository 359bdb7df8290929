#include "gpumap/cuda_completions.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>

namespace kvfs::gpumap {

CudaCompletions::CudaCompletions(std::shared_ptr<const CudaPrimary> primary)
    : primary_(std::move(primary)), thread_([this] { serve(); }) {
    ::pthread_setname_np(thread_.native_handle(), "gpumap-cuda");
}

CudaCompletions::~CudaCompletions() {
    {
        MutexLock lock(mutex_);
        stopping_ = true;
        changed_.notify_all();
    }
    thread_.join();
    const CudaPrimary::Current current(*primary_);
    MutexLock lock(mutex_);
    for (const auto& [ticket, watched] : watched_) {
        if (watched->event != nullptr) spare_events_.push_back(watched->event);
    }
    for (const cuda::Event event : spare_events_) primary_->driver().cuEventDestroy(event);
}

Result<cuda::Event> CudaCompletions::take_event() {
    {
        MutexLock lock(mutex_);
        if (!spare_events_.empty()) {
            const cuda::Event event = spare_events_.back();
            spare_events_.pop_back();
            return event;
        }
    }
    cuda::Event event = nullptr;
    const CudaDriver& driver = primary_->driver();
    const Status made =
        driver.check("cuEventCreate", driver.cuEventCreate(&event, cuda::kEventDisableTiming));
    if (!made) return made.error();
    return event;
}

void CudaCompletions::give_back(cuda::Event event) {
    MutexLock lock(mutex_);
    spare_events_.push_back(event);
}

Ticket CudaCompletions::watch(cuda::Event event, gm_status status, Then then) {
    return add({event, {}, status, std::move(then)});
}

Ticket CudaCompletions::watch_streams(std::pair<cuda::Stream, cuda::Stream> streams, Then then) {
    return add({nullptr, streams, GM_EDEVICE, std::move(then)});
}

Ticket CudaCompletions::add(Watched watched) {
    auto shared = std::make_shared<Watched>(std::move(watched));
    MutexLock lock(mutex_);
    const Ticket ticket = next_++;
    watched_.emplace(ticket, std::move(shared));
    changed_.notify_all();
    return ticket;
}

Status CudaCompletions::make_wait(cuda::Stream stream, std::span<const Ticket> tickets) {
    const CudaDriver& driver = primary_->driver();
    MutexLock lock(mutex_);  // no event is used for something else meanwhile
    for (const Ticket ticket : tickets) {
        const auto found = watched_.find(ticket);
        if (found == watched_.end() || found->second->event == nullptr) continue;
        const Status waits = driver.check(
            "cuStreamWaitEvent", driver.cuStreamWaitEvent(stream, found->second->event, 0));
        if (!waits) return waits;
    }
    return {};
}

gm_status CudaCompletions::ask(const Watched& watched) const {
    const CudaDriver& driver = primary_->driver();
    if (watched.event == nullptr) {
        // Their errors are known; what counts is that they are done.
        driver.cuStreamSynchronize(watched.streams.first);
        driver.cuStreamSynchronize(watched.streams.second);
        return watched.status;
    }
    const cuda::Result result = driver.cuEventQuery(watched.event);
    if (result == cuda::kNotReady) return GM_PENDING;
    return result == cuda::kSuccess ? watched.status : GM_EDEVICE;
}

std::size_t CudaCompletions::look() {
    const CudaPrimary::Current current(*primary_);
    MutexLock looking(looking_);
    std::vector<std::pair<Ticket, std::shared_ptr<Watched>>> all;
    {
        MutexLock lock(mutex_);
        all.assign(watched_.begin(), watched_.end());
    }
    std::size_t ended = 0;
    for (const auto& [ticket, watched] : all) {
        const gm_status status = ask(*watched);
        if (status == GM_PENDING) continue;
        ++ended;
        {
            MutexLock lock(mutex_);
            watched_.erase(ticket);
            if (watched->event != nullptr) spare_events_.push_back(watched->event);
        }
        watched->then(status);
    }
    return ended;
}

void CudaCompletions::serve() {
    unsigned looks_in_vain = 0;
    Ticket newest = 0;
    for (;;) {
        {
            MutexLock lock(mutex_);
            while (watched_.empty() && !stopping_) changed_.wait(lock);
            if (stopping_) return;
            if (newest != next_) looks_in_vain = 0;
            newest = next_;
        }
        looks_in_vain = look() > 0 ? 0 : looks_in_vain + 1;
        pause(looks_in_vain);
    }
}

/// A copy of a few MiB takes some tens of microseconds: for about as long it is worth a processor
/// to see its end at once. What takes longer is not much delayed by sleep.
void CudaCompletions::pause(unsigned looks_in_vain) {
    constexpr unsigned kLooksAwake = 64;
    constexpr std::chrono::microseconds kShortest(10);
    constexpr std::chrono::microseconds kLongest(320);
    if (looks_in_vain == 0) return;
    if (looks_in_vain < kLooksAwake) return std::this_thread::yield();
    const unsigned doublings = std::min((looks_in_vain - kLooksAwake) / 8, 5U);
    const Deadline end = Clock::now() + std::min(kShortest * (1 << doublings), kLongest);
    MutexLock lock(mutex_);
    const Ticket newest = next_;
    while (!stopping_ && newest == next_ && changed_.wait_until(lock, end)) continue;
}

}  // namespace kvfs::gpumap
