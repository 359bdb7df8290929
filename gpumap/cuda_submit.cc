// How a batch of copies gets onto the device's streams, and how its end is seen.
#include <algorithm>
#include <array>
#include <utility>

#include "gpumap/cuda_device.h"

namespace kvfs::gpumap {

/// What must stay until the device has ended the batch.
struct CudaDevice::Batch {
    CopyChoice choice;
    std::vector<cuda::DevicePointer> destinations;
    std::vector<cuda::DevicePointer> sources;
    std::vector<std::size_t> sizes;
    cuda::CopyAttributes attributes;
    int slot = -1;                  ///< of the kernels
    cuda::Event copied = nullptr;   ///< between the copies and the kernel
    cuda::Stream copies = nullptr;  ///< where they are queued
    cuda::Stream last = nullptr;    ///< the one of which the end is the batch's
};

Ticket CudaDevice::submit(Direction direction, std::span<const Copy> copies, Done done) {
    return submit_by(options_, direction, copies, std::move(done));
}

Ticket CudaDevice::submit_by(const CudaOptions& options, Direction direction,
                             std::span<const Copy> copies, Done done) {
    const CudaPrimary::Current current(*primary_);
    const auto batch = std::make_shared<Batch>();
    batch->choice = choose(direction, pins_->locate(copies), abilities_, options);
    batch->copies = batch->last = direction == Direction::in ? in_ : out_;
    Status status = enqueue(*batch, direction, options.slice);
    // Also after an error: what was queued before it may be running.
    const auto then = [this, batch, done = std::move(done)](gm_status ended_as) {
        ended(*batch);
        done(ended_as);
    };
    // One event tells of it when nothing is queued elsewhere.
    if (status || batch->last == batch->copies) {
        auto event = completions_->take_event();
        if (event) {
            if (driver_.cuEventRecord(*event, batch->last) == cuda::kSuccess)
                return completions_->watch(*event, status ? GM_OK : GM_EDEVICE, then);
            completions_->give_back(*event);
        }
    }
    return completions_->watch_streams({batch->copies, batch->last}, then);
}

Status CudaDevice::enqueue(Batch& batch, Direction direction, std::size_t slice) {
    CopyChoice& choice = batch.choice;
    if (!choice.small.empty()) {
        batch.slot = kernels_->take_slot();
        if (batch.slot < 0) {
            // All staging memory is in use: rather the slower way than to wait.
            auto& instead = abilities_.batch ? choice.batched : choice.one_by_one;
            for (const LocatedCopy& one : choice.small) instead.push_back(one.copy);
            choice.small.clear();
        }
    }
    // The kernel's copies first: it runs while the others are moved.
    if (!choice.small.empty()) {
        if (Status small = enqueue_small(batch); !small) return small;
    }
    for (const Copy& copy : choice.one_by_one) {
        if (Status queued = enqueue_one(direction, copy, batch.copies); !queued) return queued;
    }
    if (Status queued = enqueue_batched(batch, direction, slice); !queued) return queued;
    return batch.last == batch.copies ? Status() : chain(batch);
}

Status CudaDevice::enqueue_one(Direction direction, const Copy& copy, cuda::Stream stream) {
    if (direction == Direction::in)
        return driver_.check("cuMemcpyHtoDAsync",
                             driver_.cuMemcpyHtoDAsync(copy.device, copy.host, copy.bytes, stream));
    return driver_.check("cuMemcpyDtoHAsync",
                         driver_.cuMemcpyDtoHAsync(copy.host, copy.device, copy.bytes, stream));
}

Status CudaDevice::enqueue_batched(Batch& batch, Direction direction, std::size_t slice) {
    const auto& copies = batch.choice.batched;
    if (copies.empty()) return {};
    auto& on_device = direction == Direction::in ? batch.destinations : batch.sources;
    auto& on_host = direction == Direction::in ? batch.sources : batch.destinations;
    on_device.resize(copies.size());
    on_host.resize(copies.size());
    batch.sizes.resize(copies.size());
    for (std::size_t i = 0; i < copies.size(); ++i) {
        on_device[i] = copies[i].device;
        on_host[i] = reinterpret_cast<cuda::DevicePointer>(copies[i].host);
        batch.sizes[i] = copies[i].bytes;
    }
    // One index is asked for, but some have read one for each copy.
    static std::array<std::size_t, CudaOptions::kSliceMax> attribute_indexes{};
    // What is loaded has long been written. What is saved a stream may just have made.
    batch.attributes.source_access_order =
        direction == Direction::in ? cuda::kAccessOrderAny : cuda::kAccessOrderStream;
    batch.attributes.flags = cuda::kCopyPreferOverlapWithCompute;
    for (std::size_t at = 0; at < copies.size(); at += slice) {
        const std::size_t count = std::min(slice, copies.size() - at);
        cuda::DevicePointer* to = batch.destinations.data() + at;
        cuda::DevicePointer* from = batch.sources.data() + at;
        std::size_t* sizes = batch.sizes.data() + at;
        std::size_t* indexes = attribute_indexes.data();
        std::size_t failed_index = 0;
        const cuda::Result result =
            driver_.batch_of_13000 != nullptr
                ? driver_.batch_of_13000(to, from, sizes, count, &batch.attributes, indexes, 1,
                                         batch.copies)
                : driver_.batch_of_12080(to, from, sizes, count, &batch.attributes, indexes, 1,
                                         &failed_index, batch.copies);
        if (Status queued = driver_.check("cuMemcpyBatchAsync", result); !queued) return queued;
    }
    return {};
}

Status CudaDevice::enqueue_small(Batch& batch) {
    const auto& small = batch.choice.small;
    std::vector<CudaKernels::Piece> pieces;
    pieces.reserve(small.size());
    if (batch.choice.small_method == CopyMethod::gather) {
        for (const LocatedCopy& one : small)
            pieces.push_back({one.host_on_device, one.copy.device, one.copy.bytes});
    } else {
        const cuda::DevicePointer staging = kernels_->staging(batch.slot);
        const auto runs = runs_of(small);
        for (const HostRun& run : runs) {
            const Copy copy{staging + run.at, run.host, run.bytes};
            if (Status queued = enqueue_one(Direction::in, copy, batch.copies); !queued)
                return queued;
        }
        auto run = runs.begin();
        for (const LocatedCopy& one : small) {
            while (one.copy.host < run->host || one.copy.host >= run->host + run->bytes) ++run;
            const auto within = static_cast<std::uint64_t>(one.copy.host - run->host);
            pieces.push_back({staging + run->at + within, one.copy.device, one.copy.bytes});
        }
        if (Status chained = chain(batch); !chained) return chained;
    }
    batch.last = kernel_stream_;
    return kernels_->launch(batch.slot, pieces, batch.choice.small_method, kernel_stream_);
}

/// What is queued on the kernels' stream from now on comes after the copies so far.
Status CudaDevice::chain(Batch& batch) {
    if (batch.copied == nullptr) {
        auto event = completions_->take_event();
        if (!event) return event.error();
        batch.copied = *event;
    }
    if (Status recorded =
            driver_.check("cuEventRecord", driver_.cuEventRecord(batch.copied, batch.copies));
        !recorded)
        return recorded;
    return driver_.check("cuStreamWaitEvent",
                         driver_.cuStreamWaitEvent(kernel_stream_, batch.copied, 0));
}

void CudaDevice::ended(Batch& batch) {
    if (batch.slot >= 0) kernels_->give_back(batch.slot);
    if (batch.copied != nullptr) completions_->give_back(batch.copied);
    batch = {};
}

}  // namespace kvfs::gpumap
