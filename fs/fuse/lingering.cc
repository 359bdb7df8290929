#include "fs/fuse/lingering.h"

namespace kvfs::fuse {

void Lingering::keep_file(std::unique_ptr<Handle> handle) {
    const Deadline now = Clock::now();
    auto old = take_old(now);
    {
        const MutexLock lock(mutex_);
        const Ino ino = handle->ino;
        auto& kept = handles_[ino];
        if (kept) old.push_back(std::move(kept));
        kept = std::move(handle);
        handles_by_age_.emplace_back(now + kFileStays, ino);
        count_ = handles_.size() + directories_.size();
    }
    release(std::move(old));
}

void Lingering::keep_directory(Attributes attributes) {
    attributes.inode.nlink = 0;
    const MutexLock lock(mutex_);
    if (directories_.size() >= kDirectoriesMax) directories_.erase(directories_.begin());
    directories_.insert_or_assign(attributes.inode.ino, std::move(attributes));
    count_ = handles_.size() + directories_.size();
}

std::optional<Attributes> Lingering::directory(Ino ino) const {
    const MutexLock lock(mutex_);
    const auto found = directories_.find(ino);
    if (found == directories_.end()) return std::nullopt;
    return found->second;
}

void Lingering::forget(Ino ino) {
    if (count_ == 0) return;
    std::vector<std::unique_ptr<Handle>> gone;
    {
        const MutexLock lock(mutex_);
        directories_.erase(ino);
        if (const auto found = handles_.find(ino); found != handles_.end()) {
            gone.push_back(std::move(found->second));
            handles_.erase(found);
        }
        count_ = handles_.size() + directories_.size();
    }
    release(std::move(gone));
}

void Lingering::release_all() {
    release(take_old(Deadline::max()));
    const MutexLock lock(mutex_);
    directories_.clear();
}

std::vector<std::unique_ptr<Handle>> Lingering::take_old(Deadline now) {
    std::vector<std::unique_ptr<Handle>> old;
    const MutexLock lock(mutex_);
    while (!handles_by_age_.empty() && handles_by_age_.front().first <= now) {
        const auto found = handles_.find(handles_by_age_.front().second);
        if (found != handles_.end()) {
            old.push_back(std::move(found->second));
            handles_.erase(found);
        }
        handles_by_age_.pop_front();
    }
    count_ = handles_.size() + directories_.size();
    return old;
}

void Lingering::release(std::vector<std::unique_ptr<Handle>> handles) {
    for (auto& handle : handles) files_.release(std::move(handle));
}

}  // namespace kvfs::fuse
