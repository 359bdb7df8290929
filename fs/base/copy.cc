#include "fs/base/copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace kvfs {
namespace {

constexpr std::size_t kLine = 64;

}  // namespace

void copy_from_memory(std::byte* to, const std::byte* from, std::size_t size) {
    constexpr std::size_t kStep = 512;
    constexpr std::size_t kAhead = 2048;
    constexpr int kSecondLevel = 2;
    while (size > kAhead + kStep) {
        for (std::size_t i = 0; i < kStep; i += kLine)
            __builtin_prefetch(from + kAhead + i, 0, kSecondLevel);
        std::memcpy(to, from, kStep);
        to += kStep;
        from += kStep;
        size -= kStep;
    }
    std::memcpy(to, from, size);
}

#if defined(__SSE2__)

void copy_to_memory(std::byte* to, const std::byte* from, std::size_t size) {
    // Less is better kept in the cache: it may be read again, and costs little.
    constexpr std::size_t kWorthIt = 64 << 10;
    if (size < kWorthIt) {
        std::memcpy(to, from, size);
        return;
    }
    const std::size_t head = (kLine - reinterpret_cast<std::uintptr_t>(to) % kLine) % kLine;
    std::memcpy(to, from, head);
    std::size_t at = head;
    for (; at + kLine <= size; at += kLine) {
        const auto* source = reinterpret_cast<const __m128i*>(from + at);
        auto* target = reinterpret_cast<__m128i*>(to + at);
        const __m128i first = _mm_loadu_si128(source);
        const __m128i second = _mm_loadu_si128(source + 1);
        const __m128i third = _mm_loadu_si128(source + 2);
        const __m128i fourth = _mm_loadu_si128(source + 3);
        _mm_stream_si128(target, first);
        _mm_stream_si128(target + 1, second);
        _mm_stream_si128(target + 2, third);
        _mm_stream_si128(target + 3, fourth);
    }
    std::memcpy(to + at, from + at, size - at);
    _mm_sfence();  // such stores are not ordered with a mutex's release otherwise
}

#else

void copy_to_memory(std::byte* to, const std::byte* from, std::size_t size) {
    std::memcpy(to, from, size);
}

#endif

}  // namespace kvfs
