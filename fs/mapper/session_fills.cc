// What a client awaits of the fills that its leases are on.
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "fs/mapper/session.h"

namespace kvfs::mapper {

/// From now on news_ tells of what lands in `content`.
Status Session::listen(Content& content) {
    if (news_ == nullptr) {
        UniqueFd news(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        if (!news) return errno_error("eventfd");
        news_ = std::make_shared<const UniqueFd>(std::move(news));
    }
    content.on_news([news = news_] { ::eventfd_write(news->get(), 1); });
    return {};
}

Status Session::await(const Request& request) {
    const protocol::Await& wanted = request.await;
    const Awaited awaited{request.header, wanted.bytes,
                          deadline_after(files_.cache().io_timeout())};
    if (!awaited_.emplace(wanted.lease, awaited).second)
        return Error{EBADMSG, "a second await for one lease"};
    return {};
}

/// Waits until there is a packet to receive (or the client has hung up), and tells what has landed
/// meanwhile.
Status Session::wait_for_request() {
    for (;;) {
        if (Status told = tell_news(); !told) return told;
        if (awaited_.empty()) return {};
        Deadline first = Deadline::max();
        for (const auto& [lease, awaited] : awaited_) first = std::min(first, awaited.until);
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(first - Clock::now());
        std::array<pollfd, 2> watched{
            {{socket_.get(), POLLIN, 0}, {news_ ? news_->get() : -1, POLLIN, 0}}};
        const auto timeout = std::clamp<std::int64_t>(left.count(), 0, 60'000);
        ::poll(watched.data(), watched.size(), static_cast<int>(timeout));
        if (watched[1].revents != 0) {
            eventfd_t ignored = 0;
            ::eventfd_read(news_->get(), &ignored);
        }
        if (watched[0].revents != 0) return {};
    }
}

/// How many bytes of a lease have landed; nullopt: not yet as many as are awaited.
std::optional<Result<std::uint64_t>> Session::landed(std::uint64_t number,
                                                     const Awaited& awaited) const {
    const auto held = holdings_.find(number);
    const Lease* lease = held != holdings_.end() ? std::get_if<Lease>(&held->second) : nullptr;
    if (lease == nullptr || lease->content == nullptr) return Error{ENOENT};
    if (awaited.bytes > lease->size) return Error{EINVAL};
    const Content::Progress now = lease->content->progress();
    // What has landed is good, whatever became of the rest.
    if (now.bytes >= awaited.bytes) return now.bytes;
    if (now.error.code != 0) return now.error;
    if (Clock::now() >= awaited.until) return Error{ETIMEDOUT};
    return std::nullopt;
}

/// Answers whatever can be answered now.
Status Session::tell_news() {
    for (auto it = awaited_.begin(); it != awaited_.end();) {
        const auto bytes = landed(it->first, it->second);
        if (!bytes) {
            ++it;
            continue;
        }
        Reply reply(socket_.get(), it->second.request);
        it = awaited_.erase(it);
        if (*bytes) reply.append(protocol::Landed{**bytes});
        if (Status told = reply.finish(*bytes ? 0 : bytes->error().code); !told) return told;
    }
    return {};
}

}  // namespace kvfs::mapper
