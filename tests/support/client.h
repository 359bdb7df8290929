#pragma once
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace kvfs::tests {

/// What an engine gives O_DIRECT: page-aligned memory.
class PageBuffer {
  public:
    explicit PageBuffer(std::size_t size)
        : size_(size),
          memory_(static_cast<char*>(std::aligned_alloc(4096, (size + 4095) / 4096 * 4096))) {}
    explicit PageBuffer(std::string_view bytes) : PageBuffer(bytes.size()) {
        std::memcpy(memory_.get(), bytes.data(), bytes.size());
    }
    char* data() { return memory_.get(); }
    std::size_t size() const { return size_; }
    std::string_view bytes() const { return {memory_.get(), size_}; }

  private:
    struct Free {
        void operator()(char* memory) const { std::free(memory); }
    };
    std::size_t size_;
    std::unique_ptr<char, Free> memory_;
};

/// Runs `body` in two processes at once, as two workers of an engine do, and fails the test when
/// either returns false. `rank` is 0 and 1. In the body: no assertions, which belong to the test's
/// own process; say on stderr what is wrong.
void in_two_processes(const std::function<bool(int rank)>& body);

/// False, and says so on stderr, when `holds` is not.
bool holds(bool holds, const char* what);

}  // namespace kvfs::tests

/// In a body of in_two_processes: gives up when the condition does not hold.
#define KVFS_HOLD(condition) \
    if (!::kvfs::tests::holds(static_cast<bool>(condition), #condition)) return false
