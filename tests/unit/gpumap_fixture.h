#pragma once
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "fs/base/crc32c.h"
#include "fs/cache/cache.h"
#include "fs/files/files.h"
#include "fs/mapper/server.h"
#include "fs/store/ssd_store.h"
#include "gpumap.h"
#include "tests/support/faulty_store.h"
#include "tests/support/memory_store.h"

namespace kvfs::tests {

/// Ends the program when what a test stands on is not there.
inline void must(bool holds, const std::string& what) {
    if (holds) return;
    std::fprintf(stderr, "fixture: %s\n", what.c_str());
    std::abort();
}
template <typename T>
T must(Result<T> result) {
    must(result.ok(), result.ok() ? "" : result.error().message());
    return *std::move(result);
}
inline void must(const Status& status) {
    must(status.ok(), status.ok() ? "" : status.error().message());
}

/// Waits until `holds()`; false after ten seconds. For what happens behind the caller's back.
template <typename Condition>
bool comes_true(Condition holds) {
    for (const Deadline end = deadline_after(std::chrono::seconds(10)); !holds();) {
        if (Clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}

/// The daemon's inside and its mapper socket in this process, with a DRAM tier of 32 MiB. Uses no
/// Criterion, so that plain programs can have it too.
class Daemon {
  public:
    static constexpr std::uint64_t kMiB = 1 << 20;
    enum class Below { ssd, memory, faulty };

    struct Options {
        Below below = Below::ssd;
        std::uint64_t dram_bytes = 32 * kMiB;
        unsigned clients_max = 256;
        std::chrono::milliseconds io_timeout = std::chrono::seconds(10);
    };

    Daemon() : Daemon(Options{}) {}
    explicit Daemon(Options options) : options_(options) {
        std::string pattern = std::filesystem::temp_directory_path() / "kvfs-mapper-XXXXXX";
        must(::mkdtemp(pattern.data()) != nullptr, "mkdtemp");
        directory_ = pattern;
        ::chmod(directory_.c_str(), 0755);  // for clients that become another user
        ::mkdir(path("ssd").c_str(), 0700);
        names_ = must(Namespace::open({.directory = path("names"), .map_bytes = 64 * kMiB}));
        std::vector<std::unique_ptr<ObjectStore>> stores;
        if (options.below == Below::ssd) {
            stores.push_back(must(SsdStore::open({.directory = path("ssd")})));
        } else if (options.below == Below::memory) {
            stores.push_back(std::make_unique<MemoryStore>());
        } else {
            auto faulty = std::make_unique<FaultyStore>();
            faulty_ = faulty.get();
            stores.push_back(std::move(faulty));
        }
        cache_ = std::make_unique<Cache>(must(Arena::create({.bytes = options.dram_bytes})),
                                         std::move(stores),
                                         Cache::Options{.io_timeout = options.io_timeout});
        files_ = must(Files::open(*names_, *cache_));
        files_->set_socket_path(socket());
        start();
        make_directory("v", 0777);
    }
    ~Daemon() {
        server_.reset();
        files_.reset();
        cache_.reset();
        names_.reset();
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    std::string path(const std::string& name) const { return directory_ + "/" + name; }
    std::string socket() const { return path("socket"); }
    Files& files() { return *files_; }
    Cache& cache() { return *cache_; }
    MapperServer& server() { return *server_; }
    FaultyStore& faulty() { return *faulty_; }  ///< Below::faulty

    void start() {
        server_ = must(MapperServer::start(
            *files_, {.socket_path = socket(), .clients_max = options_.clients_max}));
    }
    /// The socket and all its clients' leases go.
    void stop() { server_.reset(); }

    Ino make_directory(std::string_view name, std::uint32_t mode, std::uint32_t uid = 0) {
        const Namespace::NewInode what{.mode = S_IFDIR | mode, .uid = uid, .gid = uid};
        return must(files_->make(kRootIno, name, what)).inode.ino;
    }

    /// The bytes of the file `seed`.
    static std::vector<std::byte> bytes(std::uint64_t seed, std::size_t length) {
        std::vector<std::byte> all(length);
        std::uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
        for (std::size_t i = 0; i < length; ++i) {
            if (i % 8 == 0) state = state * 6364136223846793005 + 1442695040888963407;
            all[i] = static_cast<std::byte>(state >> (i % 8 * 8));
        }
        return all;
    }

    /// Writes /v/NAME as a program would through the mount.
    Ino put(const std::string& name, const std::vector<std::byte>& bytes) {
        const Ino parent = must(files_->lookup(kRootIno, "v")).inode.ino;
        static_cast<void>(files_->unlink(parent, name));
        auto created = must(files_->create(parent, name, {.mode = S_IFREG | 0644}));
        if (!bytes.empty()) must(files_->write(*created.handle, 0, bytes));
        files_->release(std::move(created.handle));
        return created.attributes.inode.ino;
    }
    /// As put(), and waits until the file is on SSD only.
    Ino put_below(const std::string& name, const std::vector<std::byte>& bytes) {
        const Ino ino = put(name, bytes);
        push_out(ino);
        return ino;
    }
    void push_out(Ino ino) {
        settle(ino);
        for (int i = 0; in_dram(ino); ++i) {
            must(i < 1000, "a file does not leave DRAM");
            settle(put("filler" + std::to_string(i % 64), std::vector<std::byte>(kMiB)));
        }
    }
    /// Waits until the file is in the store, too.
    void settle(Ino ino) {
        auto handle = must(files_->open(ino, {}));
        must(files_->sync(*handle));
        files_->release(std::move(handle));
    }
    bool in_dram(Ino ino) const {
        const auto residency = cache_->residency(ino);
        return residency && residency->dram_bytes > 0;
    }
    void remove(const std::string& name) {
        const Ino parent = must(files_->lookup(kRootIno, "v")).inode.ino;
        must(files_->unlink(parent, name));
    }
    /// user.kvfs.parent of the file at `path`; "" when it has none.
    std::string parent_of(const std::string& path) {
        const Ino ino = must(files_->resolve(path, {})).inode.ino;
        const auto parent = files_->xattr(ino, "user.kvfs.parent");
        return parent ? *parent : "";
    }
    bool exists(const std::string& name) {
        const Ino parent = must(files_->lookup(kRootIno, "v")).inode.ino;
        return files_->lookup(parent, name).ok();
    }
    /// Empty when there is no such file. Ends the test when the file is lost while it is read.
    std::vector<std::byte> read(const std::string& name) {
        const Ino parent = must(files_->lookup(kRootIno, "v")).inode.ino;
        auto found = files_->lookup(parent, name);
        if (!found) return {};
        auto handle = must(files_->open(found->inode.ino, {}));
        const auto view = must(files_->read(*handle, 0, found->inode.size));
        std::vector<std::byte> all;
        for (const auto& span : view.spans) all.insert(all.end(), span.begin(), span.end());
        files_->release(std::move(handle));
        return all;
    }

  private:
    const Options options_;
    std::string directory_;
    FaultyStore* faulty_ = nullptr;
    std::unique_ptr<Namespace> names_;
    std::unique_ptr<Cache> cache_;
    std::unique_ptr<Files> files_;
    std::unique_ptr<MapperServer> server_;
};

/// The backend of the contexts that are opened from now on.
inline std::uint32_t backend = GM_BACKEND_HOST;

/// From now on: the cuda backend over the driver in tests/fake_cuda. Before the first context.
inline void use_fake_cuda() {
    const char* bin = std::getenv("KVFS_BIN");
    must(bin != nullptr, "KVFS_BIN is not set: run the tests through make check");
    const std::string library = std::string(bin) + "/fake_cuda/libcuda.so.1";
    ::setenv("KVFS_LIBCUDA", library.c_str(), 1);
    ::setenv("KVFS_CUDA", "small=32768", 1);
    ::setenv("FAKE_CUDA", "poison=1,reverse=1,jitter_us=50", 1);
    backend = GM_BACKEND_CUDA;
}

/// What the device is to do from the start; before the first context. `fail_load` and `fail_save`:
/// which batch of copies in that direction fails, from 1.
struct DeviceKnobs {
    unsigned delay_us = 0;  ///< before each batch
    unsigned fail_load = 0;
    unsigned fail_save = 0;
};
inline void set_device(const DeviceKnobs& knobs) {
    if (backend == GM_BACKEND_HOST) {
        const std::string text = "copy_delay_us=" + std::to_string(knobs.delay_us) +
                                 ",fail_batch=" + std::to_string(knobs.fail_load + knobs.fail_save);
        ::setenv("KVFS_HOST_DEVICE", text.c_str(), 1);
        return;
    }
    std::string text = "poison=1,reverse=1,jitter_us=50,delay_us=" + std::to_string(knobs.delay_us);
    if (knobs.fail_load > 0) text += ",fail=cuMemcpyHtoDAsync:" + std::to_string(knobs.fail_load);
    if (knobs.fail_save > 0) text += ",fail=cuMemcpyDtoHAsync:" + std::to_string(knobs.fail_save);
    ::setenv("FAKE_CUDA", text.c_str(), 1);
}

/// The fake driver's own functions; for after the first context.
struct FakeCuda {
    static void* find(const char* name) {
        const char* path = std::getenv("KVFS_LIBCUDA");
        void* library = ::dlopen(path != nullptr ? path : "", RTLD_NOW | RTLD_NOLOAD);
        void* found = library != nullptr ? ::dlsym(library, name) : nullptr;
        must(found != nullptr, std::string("the fake driver is not loaded: ") + name);
        return found;
    }
    static void control(const std::string& knobs) {
        reinterpret_cast<void (*)(const char*)>(find("fake_cuda_control"))(knobs.c_str());
    }
    static std::uint64_t calls(const char* name) {
        return reinterpret_cast<std::uint64_t (*)(const char*)>(find("fake_cuda_calls"))(name);
    }
    static std::uint64_t registered_bytes() {
        return reinterpret_cast<std::uint64_t (*)()>(find("fake_cuda_registered_bytes"))();
    }
    static std::uint64_t largest_batch() {
        return reinterpret_cast<std::uint64_t (*)()>(find("fake_cuda_largest_batch"))();
    }
    /// "" or how the driver was used as it must not be.
    static std::string complaint() {
        char text[200] = {};
        const auto count = reinterpret_cast<std::uint64_t (*)(char*, std::size_t)>(
            find("fake_cuda_complaints"))(text, sizeof text);
        return count == 0 ? "" : text;
    }
};

/// A context that is connected to `socket`.
class Client {
  public:
    explicit Client(const std::string& socket, std::uint32_t timeout_ms = 20'000,
                    std::uint64_t staging_bytes = 8 << 20, std::uint32_t inflight_mib = 0) {
        gm_config config{};
        config.size = sizeof config;
        config.backend = backend;
        config.socket_path = socket.c_str();
        config.timeout_ms = timeout_ms;
        config.staging_bytes = staging_bytes;
        config.inflight_mib = inflight_mib;
        must(gm_open(&config, &ctx_) == GM_OK, gm_message());
    }
    ~Client() { gm_close(ctx_); }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    gm_ctx* ctx() { return ctx_; }
    operator gm_ctx*() { return ctx_; }

    gm_file* open(const std::string& path) {
        gm_file* file = nullptr;
        must(gm_file_open(ctx_, path.c_str(), 0, &file, nullptr) == GM_OK, gm_message());
        return file;
    }
    gm_file* create(const std::string& path, std::uint64_t size) {
        gm_file* file = nullptr;
        must(gm_file_open(ctx_, path.c_str(), GM_CREATE, &file, &size) == GM_OK, gm_message());
        return file;
    }
    gm_devptr allocate(std::uint64_t bytes) {
        gm_devptr memory = 0;
        must(gm_device_alloc(ctx_, bytes, &memory) == GM_OK, gm_message());
        return memory;
    }
    std::vector<std::byte> fetch(gm_devptr from, std::size_t bytes) {
        std::vector<std::byte> all(bytes);
        must(gm_device_copy_out(ctx_, all.data(), from, bytes, nullptr) == GM_OK, gm_message());
        return all;
    }
    void fill(gm_devptr memory, std::byte value, std::size_t bytes) {
        const std::vector<std::byte> all(bytes, value);
        must(gm_device_copy_in(ctx_, memory, all.data(), bytes, nullptr) == GM_OK, gm_message());
    }

  private:
    gm_ctx* ctx_ = nullptr;
};

}  // namespace kvfs::tests
