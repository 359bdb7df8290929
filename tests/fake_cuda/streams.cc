// The fake driver's streams and events, and what runs on them.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "tests/fake_cuda/driver.h"

namespace fake_cuda {
namespace {

constexpr int kPoison = 0xEE;

std::uint64_t handle_number(cuda::Stream handle) { return reinterpret_cast<std::uint64_t>(handle); }

/// The same for the same piece of work in each run, as far as threads allow.
std::uint32_t jitter(std::uint64_t number, std::uint32_t below) {
    return below == 0 ? 0 : static_cast<std::uint32_t>(number * 0x9e3779b97f4a7c15 >> 33) % below;
}

struct Piece {
    std::uint64_t from;
    std::uint64_t to;
    std::uint64_t bytes;
};

}  // namespace

std::shared_ptr<Stream> Driver::new_stream() {
    auto stream = std::make_shared<Stream>();
    const Lock lock(mutex_);
    streams_[stream.get()] = stream;
    stream->thread = std::thread([this, one = stream.get()] { serve(*one); });
    return stream;
}

void Driver::serve(Stream& stream) {
    Lock lock(mutex_);
    for (;;) {
        while (stream.work.empty() && !stream.ending) changed_.wait(lock);
        if (stream.work.empty()) return;
        const auto next = std::move(stream.work.front());
        stream.work.pop_front();
        stream.busy = true;
        lock.unlock();
        next();
        lock.lock();
        stream.busy = false;
        changed_.notify_all();
    }
}

cuda::Result Driver::end_stream(cuda::Stream handle) {
    std::shared_ptr<Stream> stream;
    {
        const Lock lock(mutex_);
        const auto found = streams_.find(reinterpret_cast<Stream*>(handle));
        if (found == streams_.end()) return cuda::kInvalidHandle;
        stream = found->second;
        streams_.erase(found);
        stream->ending = true;
        changed_.notify_all();
    }
    stream->thread.join();
    return cuda::kSuccess;
}

/// Null: not one of ours. The handles 1 and 2 are default streams, which here is one.
std::shared_ptr<Stream> Driver::find(cuda::Stream handle) {
    if (handle_number(handle) == 1 || handle_number(handle) == 2) {
        std::call_once(default_stream_made_, [this] { default_stream_ = new_stream(); });
        return default_stream_;
    }
    const Lock lock(mutex_);
    const auto found = streams_.find(reinterpret_cast<Stream*>(handle));
    return found == streams_.end() ? nullptr : found->second;
}

bool Driver::enqueue(cuda::Stream handle, std::function<void()> work) {
    const auto stream = find(handle);
    if (stream == nullptr) return false;
    const Lock lock(mutex_);
    stream->work.push_back(std::move(work));
    changed_.notify_all();
    return true;
}

cuda::Result Driver::synchronize(cuda::Stream handle) {
    const auto stream = find(handle);
    if (stream == nullptr) return cuda::kInvalidHandle;
    Lock lock(mutex_);
    while (!stream->work.empty() || stream->busy) changed_.wait(lock);
    return broken_ ? cuda::kLaunchFailed : cuda::kSuccess;
}

Event* Driver::new_event() {
    const Lock lock(mutex_);
    const auto event = std::make_shared<Event>();
    events_[event.get()] = event;
    return event.get();
}

cuda::Result Driver::end_event(Event* event) {
    const Lock lock(mutex_);
    return events_.erase(event) == 0 ? cuda::kInvalidHandle : cuda::kSuccess;
}

cuda::Result Driver::record(Event* handle_of_event, cuda::Stream handle) {
    std::shared_ptr<Event> event;
    std::uint64_t time = 0;
    {
        const Lock lock(mutex_);
        const auto found = events_.find(handle_of_event);
        if (found == events_.end()) return cuda::kInvalidHandle;
        if (broken_) return cuda::kLaunchFailed;
        event = found->second;
        time = event->recorded + 1;
    }
    const bool queued = enqueue(handle, [this, event, time] {
        const Lock lock(mutex_);
        event->completed = std::max(event->completed, time);
        changed_.notify_all();
    });
    if (!queued) return cuda::kInvalidHandle;
    const Lock lock(mutex_);
    event->recorded = time;
    return cuda::kSuccess;
}

cuda::Result Driver::wait(cuda::Stream handle, Event* handle_of_event) {
    std::shared_ptr<Event> event;
    std::uint64_t time = 0;
    {
        const Lock lock(mutex_);
        const auto found = events_.find(handle_of_event);
        if (found == events_.end()) return cuda::kInvalidHandle;
        event = found->second;
        time = event->recorded;
    }
    const bool queued = enqueue(handle, [this, event, time] {
        Lock lock(mutex_);
        while (event->completed < time) changed_.wait(lock);
    });
    return queued ? cuda::kSuccess : cuda::kInvalidHandle;
}

cuda::Result Driver::query(Event* event) {
    const Lock lock(mutex_);
    if (!events_.contains(event)) return cuda::kInvalidHandle;
    if (event->completed < event->recorded) return cuda::kNotReady;
    return broken_ ? cuda::kLaunchFailed : cuda::kSuccess;
}

/// Runs a piece of work as the knobs will have it, and lets go of its memory.
void Driver::do_work(const std::function<void()>& body, const Hold& held, std::byte* to) {
    std::uint64_t number = 0;
    bool fails = false;
    Knobs knobs;
    {
        const Lock lock(mutex_);
        number = ++work_done_;
        knobs = knobs_;
        if (knobs.fail_work != 0 && number == knobs.fail_work) broken_ = true;
        fails = broken_;
    }
    const std::uint32_t delay = knobs.delay_us + jitter(number, knobs.jitter_us);
    if (delay > 0) std::this_thread::sleep_for(std::chrono::microseconds(delay));
    if (!fails) body();
    if (knobs.damage != 0 && number % knobs.damage == 0) *to ^= std::byte{1};
    const Lock lock(mutex_);
    for (Memory* memory : held) --memory->in_use;
    changed_.notify_all();
}

cuda::Result Driver::copy(cuda::Stream handle, std::vector<Copy> copies, bool to_device,
                          Host host) {
    Hold held;
    bool pageable = false;
    cuda::Result result = find(handle) == nullptr ? cuda::kInvalidHandle : cuda::kSuccess;
    Knobs knobs;
    {
        const Lock lock(mutex_);
        knobs = knobs_;
        if (broken_) result = cuda::kLaunchFailed;
        for (const Copy& one : copies) {
            if (result == cuda::kSuccess) result = hold(one, to_device, host, held, &pageable);
        }
        if (result != cuda::kSuccess) {
            for (Memory* memory : held) --memory->in_use;
            return result;
        }
    }
    if (knobs.poison) {
        for (const Copy& one : copies) std::memset(one.to, kPoison, one.bytes);
    }
    if (knobs.reverse) std::reverse(copies.begin(), copies.end());
    // Memory that is not registered is read before the call returns.
    auto kept = std::make_shared<std::vector<std::byte>>();
    if (pageable && to_device) kept->assign(copies[0].from, copies[0].from + copies[0].bytes);
    enqueue(handle, [this, copies = std::move(copies), held, kept] {
        do_work(
            [&] {
                for (const Copy& one : copies)
                    std::memcpy(one.to, kept->empty() ? one.from : kept->data(), one.bytes);
            },
            held, copies[0].to);
    });
    return pageable && !to_device ? synchronize(handle) : cuda::kSuccess;
}

cuda::Result Driver::launch(cuda::Stream handle, const std::byte* list, std::uint32_t count) {
    if (find(handle) == nullptr) return cuda::kInvalidHandle;
    const auto* pieces =
        reinterpret_cast<const Piece*>(reinterpret_cast<std::uint64_t>(list) - kDeviceView);
    Hold held;
    {
        const Lock lock(mutex_);
        if (broken_) return cuda::kLaunchFailed;
        bool crosses = false;
        Memory* its = memory_at(reinterpret_cast<const std::byte*>(pieces), count * sizeof(Piece),
                                false, &crosses);
        if (its == nullptr) return cuda::kInvalidValue;
        ++its->in_use;
        held.push_back(its);
    }
    enqueue(handle, [this, pieces, count, held] {
        do_work(
            [&] {
                for (std::uint32_t i = 0; i < count; ++i) {
                    const Piece& piece = pieces[i];
                    const bool in_host = piece.from >= kDeviceView;
                    const auto* from = reinterpret_cast<const std::byte*>(
                        in_host ? piece.from - kDeviceView : piece.from);
                    auto* to = reinterpret_cast<std::byte*>(piece.to);
                    bool is_memory = false;
                    {
                        const Lock lock(mutex_);
                        bool crosses = false;
                        is_memory = memory_at(from, piece.bytes, !in_host, &crosses) != nullptr &&
                                    memory_at(to, piece.bytes, true, &crosses) != nullptr;
                        // A kernel that touches what it may not takes the context with it.
                        if (!is_memory) broken_ = true;
                    }
                    if (is_memory) std::memcpy(to, from, piece.bytes);
                }
            },
            held, reinterpret_cast<std::byte*>(pieces[0].to));
    });
    return cuda::kSuccess;
}

/// Queues work that uses device memory, and begins to write at the first of it.
cuda::Result Driver::queue(cuda::Stream handle,
                           std::vector<std::pair<const void*, std::size_t>> uses,
                           std::function<void()> body) {
    Hold held;
    {
        const Lock lock(mutex_);
        if (broken_) return cuda::kLaunchFailed;
        for (const auto& [start, bytes] : uses) {
            bool crosses = false;
            Memory* its = memory_at(static_cast<const std::byte*>(start), bytes, true, &crosses);
            if (its == nullptr) {
                for (Memory* memory : held) --memory->in_use;
                return cuda::kInvalidValue;
            }
            ++its->in_use;
            held.push_back(its);
        }
    }
    auto* to = static_cast<std::byte*>(const_cast<void*>(uses[0].first));
    const bool queued =
        enqueue(handle, [this, body = std::move(body), held, to] { do_work(body, held, to); });
    if (queued) return cuda::kSuccess;
    const Lock lock(mutex_);
    for (Memory* memory : held) --memory->in_use;
    return cuda::kInvalidHandle;
}

cuda::Result Driver::multiply(cuda::Stream handle, const float* a, const float* b, float* c,
                              std::uint32_t order) {
    const std::size_t bytes = std::size_t{order} * order * sizeof(float);
    return queue(handle, {{c, bytes}, {a, bytes}, {b, bytes}}, [a, b, c, order] {
        for (std::size_t row = 0; row < order; ++row)
            for (std::size_t column = 0; column < order; ++column) {
                float sum = 0;
                for (std::size_t i = 0; i < order; ++i)
                    sum += a[row * order + i] * b[i * order + column];
                c[row * order + column] = sum;
            }
    });
}

cuda::Result Driver::fill(cuda::Stream handle, std::byte* to, unsigned char value,
                          std::size_t bytes) {
    return queue(handle, {{to, bytes}}, [to, value, bytes] { std::memset(to, value, bytes); });
}

cuda::Result Driver::wait_for_value(cuda::Stream handle, cuda::DevicePointer word,
                                    std::uint64_t value) {
    auto* there = reinterpret_cast<std::uint64_t*>(word - kDeviceView);
    const bool queued = enqueue(handle, [there, value] {
        while (std::atomic_ref(*there).load() < value) std::this_thread::yield();
    });
    return queued ? cuda::kSuccess : cuda::kInvalidHandle;
}

}  // namespace fake_cuda
