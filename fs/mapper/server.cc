#include "fs/mapper/server.h"

#include <poll.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <atomic>
#include <list>
#include <thread>
#include <utility>
#include <vector>

#include "fs/mapper/listener.h"
#include "fs/mapper/reply.h"
#include "fs/mapper/session.h"

namespace kvfs {

using mapper::Holdings;
using mapper::Listener;
using mapper::Session;

/// A client is either in clients_ (its thread runs, or has ended and waits to be joined) or, when
/// it hung up without bye, in departed_ until its process has ended. All but `ended_` and
/// `connected_` is the accepting thread's own.
class MapperServer::Impl {
  public:
    Impl(Files& files, Options options, Listener listener, UniqueFd wake)
        : files_(files),
          options_(std::move(options)),
          listener_(std::move(listener)),
          wake_(std::move(wake)),
          thread_([this] { serve(); }) {
        ::pthread_setname_np(thread_.native_handle(), "kvfs-mapper");
    }

    ~Impl() {
        stopping_ = true;
        ::eventfd_write(wake_.get(), 1);
        thread_.join();
    }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    unsigned connected() const { return connected_; }

  private:
    struct Client {
        explicit Client(std::unique_ptr<Session> its_session) : session(std::move(its_session)) {}
        std::unique_ptr<Session> session;
        std::atomic<bool> ended = false;
        bool said_bye = false;  ///< valid once `ended`
        std::thread thread;
    };
    struct Departed {
        UniqueFd process;
        Holdings holdings;
    };

    void serve();
    void accept();
    Status admit(UniqueFd socket);
    void run(Client& client);
    void collect();

    Files& files_;
    const Options options_;
    Listener listener_;
    UniqueFd wake_;
    std::atomic<bool> stopping_ = false;
    std::atomic<unsigned> connected_ = 0;
    std::list<Client> clients_;
    std::vector<Departed> departed_;
    std::thread thread_;  ///< last: it uses all of the above
};

void MapperServer::Impl::serve() {
    // After a failed accept, which would fail again at once.
    constexpr int kPauseMs = 100;
    while (!stopping_) {
        std::vector<pollfd> watched;
        watched.push_back({wake_.get(), POLLIN, 0});
        watched.push_back({listener_.fd(), POLLIN, 0});
        for (const Departed& departed : departed_)
            watched.push_back({departed.process.get(), POLLIN, 0});
        if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) {
            spdlog::error("mapper socket: {}", errno_error("poll").message());
            ::poll(nullptr, 0, kPauseMs);
            continue;
        }
        if (watched[0].revents != 0) {
            eventfd_t ignored = 0;
            ::eventfd_read(wake_.get(), &ignored);
        }
        collect();
        if (watched[1].revents != 0 && !stopping_) accept();
    }
    for (Client& client : clients_) client.session->disconnect();
    for (Client& client : clients_) client.thread.join();
    clients_.clear();
    departed_.clear();
}

void MapperServer::Impl::accept() {
    UniqueFd socket(::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            spdlog::error("mapper socket: {}", errno_error("accept").message());
            ::poll(nullptr, 0, 100);
        }
        return;
    }
    if (Status admitted = admit(std::move(socket)); !admitted)
        spdlog::warn("mapper client turned away: {}", admitted.error().message());
}

Status MapperServer::Impl::admit(UniqueFd socket) {
    protocol::Header hello;
    hello.op = protocol::Op::hello;
    const timeval timeout{static_cast<time_t>(options_.send_timeout.count()), 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    if (clients_.size() + departed_.size() >= options_.clients_max) {
        static_cast<void>(mapper::Reply(socket.get(), hello).finish(EAGAIN));
        return Error{EAGAIN, std::to_string(options_.clients_max) + " clients are connected"};
    }
    auto peer = mapper::peer_of(socket.get());
    if (!peer) {
        static_cast<void>(mapper::Reply(socket.get(), hello).finish(ENOTSUP));
        return peer.error();
    }
    spdlog::debug("mapper client {} (uid {}) connects", peer->pid, peer->caller.uid);
    Client& client = clients_.emplace_back(std::make_unique<Session>(
        files_, std::move(socket), std::move(*peer), connected_, options_.on_request));
    ++connected_;
    try {
        client.thread = std::thread([this, &client] { run(client); });
    } catch (const std::system_error& error) {
        --connected_;
        clients_.pop_back();
        return Error{EAGAIN, error.what()};
    }
    return {};
}

void MapperServer::Impl::run(Client& client) {
    ::pthread_setname_np(::pthread_self(), "kvfs-client");
    try {
        client.said_bye = client.session->run();
    } catch (const std::exception& error) {
        spdlog::error("mapper client {}: {}", client.session->peer().pid, error.what());
        client.session->disconnect();
    }
    --connected_;
    client.ended = true;
    ::eventfd_write(wake_.get(), 1);
}

/// Drops what belongs to clients that said bye and to processes that have ended.
void MapperServer::Impl::collect() {
    for (auto client = clients_.begin(); client != clients_.end();) {
        if (!client->ended) {
            ++client;
            continue;
        }
        client->thread.join();
        Departed departed{client->session->take_process(), client->session->take_holdings()};
        if (!client->said_bye && !departed.holdings.empty())
            departed_.push_back(std::move(departed));
        client = clients_.erase(client);
    }
    std::erase_if(departed_, [](const Departed& departed) {
        return mapper::has_ended(departed.process.get());
    });
}

Result<std::unique_ptr<MapperServer>> MapperServer::start(Files& files, Options options) {
    UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake) return errno_error("eventfd");
    auto listener = Listener::listen(options.socket_path, options.mode);
    if (!listener) return listener.error();
    return std::unique_ptr<MapperServer>(new MapperServer(
        std::make_unique<Impl>(files, std::move(options), std::move(*listener), std::move(wake))));
}

MapperServer::MapperServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MapperServer::~MapperServer() = default;

unsigned MapperServer::clients() const { return impl_->connected(); }

}  // namespace kvfs
