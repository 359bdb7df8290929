#include "fs/store/slab_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

#include "fs/base/mutex.h"
#include "fs/base/size.h"

#ifndef MFD_NOEXEC_SEAL  // Linux 6.3
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif
#ifndef MADV_POPULATE_WRITE  // Linux 5.14
#define MADV_POPULATE_WRITE 23
#endif

namespace kvfs {
namespace {

constexpr std::uint64_t kHugePageBytes = 2 << 20;
constexpr unsigned kPrefaultThreadsMax = 8;
constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

/// The number in a file that holds one, or `otherwise` ("max" in a cgroup's file, or no file).
std::uint64_t number_in(const std::string& path, std::uint64_t otherwise) {
    std::ifstream file(path);
    std::uint64_t number = 0;
    return file >> number ? number : otherwise;
}

/// The number after `key` at the start of a line: /proc/meminfo, memory.stat.
std::uint64_t number_after(const std::string& path, const std::string& key) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string word;
        std::uint64_t number = 0;
        if (words >> word >> number && word == key) return number;
    }
    return 0;
}

std::uint64_t free_hugetlb_bytes() {
    const std::string pool = "/sys/kernel/mm/hugepages/hugepages-2048kB/";
    const std::uint64_t free_pages = number_in(pool + "free_hugepages", 0);
    const std::uint64_t reserved = number_in(pool + "resv_hugepages", 0);
    return free_pages > reserved ? (free_pages - reserved) * kHugePageBytes : 0;
}

bool allows_shmem_huge_pages() {
    std::ifstream file("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    std::string modes;
    std::getline(file, modes);
    return modes.find('[') != std::string::npos && modes.find("[never]") == std::string::npos &&
           modes.find("[deny]") == std::string::npos;
}

/// What this process's cgroup leaves it; page cache counts as free, shared memory does not.
std::uint64_t cgroup_bytes_left() {
    std::ifstream file("/proc/self/cgroup");
    std::string line;
    while (std::getline(file, line) && !line.starts_with("0::")) {
    }
    if (line.size() < 4) return kUnlimited;
    const std::string group = "/sys/fs/cgroup" + line.substr(3);
    const std::uint64_t limit = number_in(group + "/memory.max", kUnlimited);
    if (limit == kUnlimited) return kUnlimited;
    const std::uint64_t current = number_in(group + "/memory.current", 0);
    const std::string stat = group + "/memory.stat";
    const std::uint64_t file_pages = number_after(stat, "file");
    const std::uint64_t cache = file_pages - std::min(file_pages, number_after(stat, "shmem"));
    const std::uint64_t held = current - std::min(current, cache);
    return limit - std::min(limit, held);
}

/// Asked before memory is faulted in: the kernel would give what it does not have, and then kill.
Status check_memory(std::uint64_t bytes) {
    const std::uint64_t machine = number_after("/proc/meminfo", "MemAvailable:") * 1024;
    const std::uint64_t left = std::min(machine, cgroup_bytes_left());
    if (bytes <= left) return {};
    return Error{ENOMEM, "no " + format_size(bytes) + " of memory for the DRAM tier: " +
                             format_size(left) + " are free; choose a smaller --dram"};
}

Result<UniqueFd> make_memfd(std::uint64_t bytes, bool hugetlb) {
    const unsigned flags =
        MFD_CLOEXEC | MFD_ALLOW_SEALING | (hugetlb ? MFD_HUGETLB | MFD_HUGE_2MB : 0U);
    UniqueFd fd(::memfd_create("kvfs-slab", flags | MFD_NOEXEC_SEAL));
    if (!fd && errno == EINVAL) fd = UniqueFd(::memfd_create("kvfs-slab", flags));
    if (!fd) return errno_error("memfd_create");
    // 0600: a client that was given a read-only descriptor cannot reopen it for writing through
    // /proc, being another user.
    if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0 || ::fchmod(fd.get(), 0600) != 0)
        return errno_error("a slab of " + format_size(bytes));
    if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return errno_error("sealing a slab");
    return fd;
}

Result<SlabMemory> map_slab(std::uint64_t bytes, bool hugetlb, bool advise_huge) {
    auto fd = make_memfd(bytes, hugetlb);
    if (!fd) return fd.error();
    auto mapping = Mapping::shared(fd->get(), bytes, PROT_READ | PROT_WRITE);
    if (!mapping) return mapping.error();
    if (advise_huge) ::madvise(mapping->data(), bytes, MADV_HUGEPAGE);
    return SlabMemory{std::move(*fd), std::move(*mapping),
                      hugetlb ? PageKind::kHugetlb : PageKind::kSmall};
}

Status prefault(std::span<std::byte> memory) {
    while (::madvise(memory.data(), memory.size(), MADV_POPULATE_WRITE) != 0) {
        if (errno == EINTR) continue;
        const int code = errno == EINVAL ? ENOTSUP : ENOMEM;  // EINVAL: Linux before 5.14
        return Error{code, "cannot fault in " + format_size(memory.size()) + " for the DRAM tier"};
    }
    return {};
}

/// Zeroing memory is bound by a core each, so several share the slabs.
Status prefault_all(std::span<const SlabMemory> slabs) {
    std::atomic<std::size_t> next = 0;
    Mutex mutex;
    Status outcome;
    const auto work = [&] {
        for (std::size_t i = next++; i < slabs.size(); i = next++) {
            if (const Status status = prefault(slabs[i].mapping.bytes()); !status) {
                MutexLock lock(mutex);
                outcome = status;
                next = slabs.size();
            }
        }
    };
    std::vector<std::thread> threads;
    const unsigned cores = std::clamp(std::thread::hardware_concurrency(), 1U, kPrefaultThreadsMax);
    while (threads.size() + 1 < std::min<std::size_t>(cores, slabs.size()))
        threads.emplace_back(work);
    work();
    for (std::thread& thread : threads) thread.join();
    return outcome;
}

/// Advice is not a promise: asks the page tables which slabs have transparent huge pages
/// throughout.
void note_shmem_huge_pages(std::span<SlabMemory> slabs) {
    std::ifstream smaps("/proc/self/smaps");
    SlabMemory* current = nullptr;
    for (std::string line; std::getline(smaps, line);) {
        char* end = nullptr;
        const std::uintptr_t start = std::strtoull(line.c_str(), &end, 16);
        if (*end == '-') {  // "7f0000000000-7f0040000000 rw-s ..." begins the next mapping
            const auto slab = std::find_if(slabs.begin(), slabs.end(), [&](const SlabMemory& it) {
                return reinterpret_cast<std::uintptr_t>(it.mapping.data()) == start;
            });
            current = slab == slabs.end() ? nullptr : &*slab;
        } else if (current != nullptr && line.starts_with("ShmemPmdMapped:")) {
            const std::uint64_t kib = std::strtoull(line.c_str() + line.find(':') + 1, nullptr, 10);
            if (kib * 1024 == current->mapping.size()) current->kind = PageKind::kShmemHuge;
        }
    }
}

}  // namespace

Result<std::vector<SlabMemory>> make_slabs(std::uint64_t count, std::uint64_t slab_bytes,
                                           bool huge_pages) {
    huge_pages = huge_pages && slab_bytes % kHugePageBytes == 0;
    const bool hugetlb = huge_pages && free_hugetlb_bytes() / slab_bytes >= count;
    const bool advise = huge_pages && !hugetlb && allows_shmem_huge_pages();
    if (!hugetlb)
        if (Status status = check_memory(count * slab_bytes); !status) return status.error();
    std::vector<SlabMemory> slabs;
    slabs.reserve(count);
    while (slabs.size() < count) {
        auto slab = map_slab(slab_bytes, hugetlb, advise);
        if (!slab) return slab.error();
        slabs.push_back(std::move(*slab));
    }
    if (Status status = prefault_all(slabs); !status) return status.error();
    if (advise) note_shmem_huge_pages(slabs);
    return slabs;
}

Result<SlabMemory> exchange_memory(std::span<std::byte> slab, bool huge_pages) {
    auto fresh = make_slabs(1, slab.size(), huge_pages);
    if (!fresh) return fresh.error();
    SlabMemory& made = fresh->front();
    void* at = ::mmap(slab.data(), slab.size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                      made.fd.get(), 0);
    if (at == MAP_FAILED) return errno_error("mapping fresh memory over a slab");
    if (made.kind == PageKind::kShmemHuge) ::madvise(at, slab.size(), MADV_HUGEPAGE);
    // The pages are there; without this, each would be looked for at its first touch.
    ::madvise(at, slab.size(), MADV_POPULATE_WRITE);
    return SlabMemory{std::move(made.fd), {}, made.kind};
}

}  // namespace kvfs
