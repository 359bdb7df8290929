#include "gpumap/slabs.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <string>
#include <utility>

namespace kvfs::gpumap {

Status Slabs::add(const protocol::SlabEntry& entry, const UniqueFd& memory) {
    const std::string name = "slab " + std::to_string(entry.slab);
    struct stat status {};
    if (::fstat(memory.get(), &status) != 0) return errno_error(name);
    if (status.st_size < 0 || static_cast<std::uint64_t>(status.st_size) < entry.bytes)
        return Error{EPROTO, name + " is smaller than the daemon says"};
    const bool writable = entry.writable != 0;
    auto mapping =
        Mapping::shared(memory.get(), entry.bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ);
    if (!mapping) return mapping.error();
    auto pin = device_.pin(mapping->bytes(), writable, memory.get());
    if (!pin) return pin.error();
    auto slab = std::make_shared<const Slab>(Slab{std::move(*mapping), writable, std::move(*pin)});
    MutexLock lock(mutex_);
    slabs_[entry.slab] = {entry.generation, std::move(slab)};
    return {};
}

Result<std::shared_ptr<const Slab>> Slabs::find(std::uint32_t slab,
                                                std::uint64_t generation) const {
    MutexLock lock(mutex_);
    const auto found = slabs_.find(slab);
    if (found == slabs_.end() || found->second.generation != generation)
        return Error{EPROTO, "the daemon has not sent slab " + std::to_string(slab)};
    return found->second.slab;
}

std::uint64_t Slabs::mapped_bytes() const {
    MutexLock lock(mutex_);
    std::uint64_t bytes = 0;
    for (const auto& [index, known] : slabs_) bytes += known.slab->memory.size();
    return bytes;
}

}  // namespace kvfs::gpumap
