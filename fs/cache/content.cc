#include "fs/cache/content.h"

#include <algorithm>

#include "fs/base/crc32c.h"

namespace kvfs {

void Content::start_fill(std::size_t chunks) {
    const MutexLock lock(mutex_);
    missing_.assign(chunks, true);
    missing_count_ = chunks;
}

void Content::landed(std::size_t index) {
    {
        const MutexLock lock(mutex_);
        if (!missing_.at(index)) return;
        missing_[index] = false;
        --missing_count_;
        while (first_missing_ < missing_.size() && !missing_[first_missing_]) ++first_missing_;
        for (const auto& news : news_) news();
        if (missing_count_ == 0) news_.clear();
    }
    landed_cv_.notify_all();
}

void Content::fail(Error error) {
    {
        const MutexLock lock(mutex_);
        if (error_.code == 0) error_ = std::move(error);
        for (const auto& news : news_) news();
        news_.clear();
    }
    landed_cv_.notify_all();
}

Content::Progress Content::progress() const {
    const MutexLock lock(mutex_);
    if (missing_count_ == 0) return {.bytes = size_};
    return {.bytes = first_missing_ * kChunkBytes, .error = error_};
}

void Content::on_news(std::function<void()> news) {
    const MutexLock lock(mutex_);
    if (missing_count_ > 0 && error_.code == 0) news_.push_back(std::move(news));
}

Status Content::wait(std::uint64_t offset, std::uint64_t length, Deadline deadline) {
    if (length == 0) return {};
    const auto first = static_cast<std::ptrdiff_t>(offset / kChunkBytes);
    const auto last = static_cast<std::ptrdiff_t>((offset + length - 1) / kChunkBytes);
    MutexLock lock(mutex_);
    for (;;) {
        if (missing_count_ == 0) return {};
        const auto begin = missing_.begin();
        // What has landed is good, whatever became of the rest.
        const auto absent = std::find(begin + first, begin + last + 1, true);
        if (absent == begin + last + 1) return {};
        wanted_ = static_cast<std::size_t>(absent - begin);
        if (error_.code != 0) return Error{EIO, error_.what};
        if (!landed_cv_.wait_until(lock, deadline))
            return Error{ETIMEDOUT, "no answer from the store within the I/O timeout"};
    }
}

std::shared_ptr<Content> Content::hold(std::shared_ptr<Content> content) {
    struct Hold {
        std::shared_ptr<Content> content;
        explicit Hold(std::shared_ptr<Content> held) : content(std::move(held)) {}
        Hold(const Hold&) = delete;
        Hold& operator=(const Hold&) = delete;
        ~Hold() {
            Room& room = content->room_;
            content.reset();
            room.changed();
        }
    };
    auto holder = std::make_shared<Hold>(std::move(content));
    Content* const held = holder->content.get();
    return {std::move(holder), held};
}

std::optional<std::size_t> Content::wanted() const {
    const MutexLock lock(mutex_);
    if (wanted_ >= missing_.size() || !missing_[wanted_]) return std::nullopt;
    return wanted_;
}

bool Content::whole() const {
    const MutexLock lock(mutex_);
    return missing_count_ == 0;
}

}  // namespace kvfs
