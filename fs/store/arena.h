#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fs/base/fd.h"
#include "fs/base/mapping.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"

namespace kvfs {

/// Which top-level directory of the mount a file belongs to: that directory's inode number.
using VolumeId = std::uint64_t;

/// Bytes [offset, offset + length) of one slab. Both are multiples of Arena::kUnitBytes.
struct Extent {
    std::uint32_t slab = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
};

class Arena;

/// Owns some extents of an arena, in file order, and gives them back when destroyed. Move-only.
/// Not thread-safe; the arena below is.
class Allocation {
  public:
    Allocation() = default;
    Allocation(Allocation&& other) noexcept;
    Allocation& operator=(Allocation&& other) noexcept;
    ~Allocation();

    std::span<const Extent> extents() const { return extents_; }
    std::uint64_t bytes() const { return bytes_; }

    /// The memory behind file bytes [offset, offset + length), in order; as few spans as there are
    /// extents in it. Requires: offset + length <= bytes().
    std::vector<std::span<std::byte>> spans(std::uint64_t offset, std::uint64_t length) const;

    /// Gives back what lies beyond the first `bytes` (rounded up to a unit).
    void shrink(std::uint64_t bytes);

  private:
    friend class Arena;
    Arena* arena_ = nullptr;
    VolumeId volume_ = 0;
    std::uint64_t bytes_ = 0;
    std::vector<Extent> extents_;
};

/// The DRAM tier's memory: a fixed number of slabs, each a memfd that is mapped, prefaulted and
/// sealed against growing and shrinking, and never hole-punched: mapper clients map slabs and let
/// devices read them, and a punched page would leave the device with the old one.
///
/// A slab belongs to one volume at a time. It becomes free when its last extent is given back. A
/// free slab that clients were given (share) is exchanged for fresh memory before another volume
/// gets it, at the same address; one that was not is zeroed where it was written, before clients
/// can see it. So no client ever sees another volume's bytes.
///
/// Thread-safe.
class Arena {
  public:
    /// Allocation unit: what a small file costs at least.
    static constexpr std::uint64_t kUnitBytes = 64 << 10;

    struct Options {
        std::uint64_t bytes = 0;  ///< whole size; rounded down to slabs
        std::uint64_t slab_bytes =
            0;                   ///< 0: 1 GiB, less with small `bytes` so that there are >= 16
        bool huge_pages = true;  ///< 2 MiB pages when the machine gives them
    };

    /// Errors: ENOMEM - the machine does not have the memory; EINVAL - `bytes` below 16 units.
    static Result<std::unique_ptr<Arena>> create(const Options& options);

    /// At least `bytes` bytes (rounded up to a unit) for a file of `volume`: one extent when some
    /// slab has room for it, else as few as possible.
    /// Errors: ENOSPC - the volume's slabs and the free slabs together do not hold that much free.
    Result<Allocation> allocate(VolumeId volume, std::uint64_t bytes);

    /// Adds at least `bytes` bytes to the end of `allocation`, in place where the next units are
    /// free. Errors: ENOSPC, and then nothing was added.
    Status grow(Allocation& allocation, std::uint64_t bytes);

    std::byte* data(const Extent& extent) const;

    std::uint64_t slab_bytes() const { return slab_bytes_; }
    std::uint32_t slab_count() const { return static_cast<std::uint32_t>(slabs_.size()); }
    std::uint64_t capacity() const { return slab_bytes_ * slabs_.size(); }
    std::uint64_t used() const;
    /// Bytes that `volume` could still allocate without anything being evicted.
    std::uint64_t available(VolumeId volume) const;
    /// "2 MiB (hugetlb)", "2 MiB (shmem THP)" or "4 KiB"; with a share each when slabs differ:
    /// "75 % 2 MiB (hugetlb), 25 % 4 KiB".
    std::string page_kind() const;

    /// A descriptor of the slab's memory for a mapper client: read-write, or read-only. From now on
    /// the slab counts as shared. `generation` changes when the memory behind the slab is
    /// exchanged.
    struct SharedSlab {
        UniqueFd fd;
        std::uint64_t generation = 0;
        VolumeId volume = 0;
    };
    Result<SharedSlab> share(std::uint32_t slab, bool writable);
    std::uint64_t generation(std::uint32_t slab) const;

    /// Called with a slab's memory, for every slab now, and again whenever its memory is exchanged.
    /// Set once, before the first allocation.
    using SlabListener = std::function<void(std::span<std::byte> memory)>;
    void set_slab_listener(SlabListener listener);
    /// Of every slab; the addresses are fixed.
    std::vector<std::span<std::byte>> memory() const;

    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

  private:
    friend class Allocation;
    struct Slab;
    struct Volume {
        std::set<std::pair<std::uint64_t, std::uint32_t>> slabs;  ///< (longest free run, slab)
        std::uint64_t free_bytes = 0;
    };
    Arena(const Options& options, std::vector<std::unique_ptr<Slab>> slabs);

    bool gather(VolumeId volume, std::uint64_t bytes, std::vector<Extent>& extents)
        REQUIRES(mutex_);
    std::optional<std::uint32_t> claim_slab(VolumeId volume) REQUIRES(mutex_);
    bool exchange(Slab& slab) REQUIRES(mutex_);
    Extent take(std::uint32_t slab, std::uint64_t bytes) REQUIRES(mutex_);
    Extent take_after(const Extent& last, std::uint64_t bytes) REQUIRES(mutex_);
    void note_taken(const Extent& extent) REQUIRES(mutex_);
    void settle(const Extent& extent) REQUIRES(mutex_);
    void put_back(const Extent& extent) REQUIRES(mutex_);
    void retire_if_unused(std::uint32_t slab) REQUIRES(mutex_);
    void list(std::uint32_t slab) REQUIRES(mutex_);
    void unlist(std::uint32_t slab) REQUIRES(mutex_);
    void zero_stale(const Extent& extent) REQUIRES(mutex_);
    void zero_all_stale(MutexLock& lock, std::uint32_t slab) REQUIRES(mutex_);
    std::uint64_t available_locked(VolumeId volume) const REQUIRES(mutex_);
    void give_back(std::span<const Extent> extents) EXCLUDES(mutex_);

    const std::uint64_t slab_bytes_;
    const bool huge_pages_;
    mutable Mutex mutex_;
    std::vector<std::unique_ptr<Slab>> slabs_;  ///< the vector is fixed; the slabs are under mutex_
    std::map<VolumeId, Volume> volumes_ GUARDED_BY(mutex_);  ///< those that hold slabs
    std::set<std::uint32_t> free_slabs_ GUARDED_BY(mutex_);
    CondVar settled_;  ///< some slab is no longer busy
    std::uint64_t used_ GUARDED_BY(mutex_) = 0;
    SlabListener listener_;
};

}  // namespace kvfs
