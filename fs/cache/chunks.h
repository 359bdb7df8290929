#pragma once
#include <cstddef>
#include <memory>
#include <vector>

namespace kvfs {

/// An array that grows without moving what is in it, and is as fast to index as one that does not:
/// pieces of a power of two. Memory is given back with all of it.
template <typename T>
class Chunks {
  public:
    T& operator[](std::size_t at) { return chunks_[at / kChunk][at % kChunk]; }
    const T& operator[](std::size_t at) const { return chunks_[at / kChunk][at % kChunk]; }
    std::size_t size() const { return size_; }
    T& push_back(const T& value) {
        if (size_ == chunks_.size() * kChunk) chunks_.push_back(std::make_unique<T[]>(kChunk));
        return (*this)[size_++] = value;
    }

  private:
    static constexpr std::size_t kChunk = 1024;

    std::vector<std::unique_ptr<T[]>> chunks_;
    std::size_t size_ = 0;
};

}  // namespace kvfs
