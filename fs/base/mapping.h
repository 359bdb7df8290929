#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "fs/base/result.h"

namespace kvfs {

/// Owns one mmap; unmaps it when destroyed. Move-only.
class Mapping {
  public:
    Mapping() = default;
    Mapping(Mapping&& other) noexcept
        : base_(std::exchange(other.base_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    Mapping& operator=(Mapping&& other) noexcept {
        if (this != &other) {
            reset();
            base_ = std::exchange(other.base_, nullptr);
            size_ = std::exchange(other.size_, 0);
        }
        return *this;
    }
    ~Mapping() { reset(); }

    /// Maps `size` bytes of `fd` from its start, shared. `populate` faults every page in now.
    /// Errors: whatever mmap says (ENOMEM, EACCES, ...).
    static Result<Mapping> shared(int fd, std::size_t size, int protection, bool populate = false) {
        return make(fd, size, protection, MAP_SHARED | (populate ? MAP_POPULATE : 0));
    }

    /// `size` bytes of private zeroed memory, page-aligned; in 2 MiB pages as far as it holds such
    /// and the machine has them, which makes a device's transfers larger.
    static Result<Mapping> anonymous(std::size_t size) {
        auto mapping = make(-1, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
        if (mapping) ::madvise(mapping->base_, size, MADV_HUGEPAGE);
        return mapping;
    }

    std::byte* data() const { return base_; }
    std::size_t size() const { return size_; }
    std::span<std::byte> bytes() const { return {base_, size_}; }
    void reset() {
        if (base_ != nullptr) ::munmap(std::exchange(base_, nullptr), std::exchange(size_, 0));
    }

  private:
    static Result<Mapping> make(int fd, std::size_t size, int protection, int flags) {
        void* base = ::mmap(nullptr, size, protection, flags, fd, 0);
        if (base == MAP_FAILED) return errno_error("mmap of " + std::to_string(size) + " bytes");
        Mapping mapping;
        mapping.base_ = static_cast<std::byte*>(base);
        mapping.size_ = size;
        return mapping;
    }

    std::byte* base_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace kvfs
