// What loads cost whoever computes meanwhile: matrix products, alone and beside loads.
#include <fmt/format.h>
#include <atomic>
#include <thread>

#include "tests/gpu/product.h"
#include "tests/gpu/rig.h"
#include "tests/gpu/session.h"
#include "tools/bench_files.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {
namespace {

/// Loads that go on until this ends.
class Loading {
  public:
    Loading(const FileSet& files, const std::vector<std::vector<gm_range>>& ranges)
        : thread_([this, &files, &ranges] {
              while (!stopping_) {
                  files.load(ranges);
                  ++loads_;
              }
          }) {
        while (loads_ == 0) std::this_thread::yield();
    }
    ~Loading() {
        stopping_ = true;
        thread_.join();
    }
    std::uint64_t loads() const { return loads_; }

  private:
    std::atomic<bool> stopping_ = false;
    std::atomic<std::uint64_t> loads_ = 0;
    std::thread thread_;
};

using Run = std::function<void(const RawStream&, int)>;

class Beside {
  public:
    explicit Beside(Session& session)
        : session_(session),
          bytes_(session.scale.sweep_bytes),
          content_(bytes_, session.seed),
          memory_(2 * bytes_) {}

    /// `apart`: every second piece of device memory.
    void measure(const char* method, std::uint64_t piece, const std::string& product,
                 const Run& run, double goal) {
        const Mapper mapper(session_.daemons.roomy,
                            *method == '\0' ? "" : std::string("few=1,method=") + method);
        const FileSet files(mapper, "beside", 1, bytes_, content_);
        std::vector<std::vector<gm_range>> ranges(1);
        for (std::uint64_t at = 0; at < bytes_; at += piece)
            ranges[0].push_back({at, piece, memory_.at(2 * at), 0, 0});
        const std::string name =
            fmt::format("{} beside loads of {} pieces{}", product, size_text(piece),
                        *method == '\0' ? "" : std::string(" by ") + method);
        BenchRow row{name, "ms", Better::kLower, {}, {}, "alone", goal};
        BenchRow speed = copy_row("  these loads meanwhile");
        const RawStream stream;
        run(stream, 1);
        stream.sync();
        const int times = times_for(stream, run);
        for (int round = -1; round < session_.scale.rounds; ++round) {
            const double alone = milliseconds(stream, run, times);
            double beside = 0, seconds = 0;
            std::uint64_t loads = 0;
            {
                const Loading loading(files, ranges);
                const std::uint64_t before = loading.loads();
                seconds = time_of([&] { beside = milliseconds(stream, run, times); });
                loads = loading.loads() - before;
            }
            if (round < 0) continue;
            row.reference.values.push_back(alone);
            row.kvfs.values.push_back(beside);
            speed.kvfs.values.push_back(gb_per_s(loads * bytes_, seconds));
        }
        session_.tell(row);
        session_.tell(speed);
    }

  private:
    static double milliseconds(const RawStream& stream, const Run& run, int times) {
        return 1e3 / times * time_of([&] {
                   run(stream, times);
                   stream.sync();
               });
    }
    /// So many that some loads fit into their time.
    static int times_for(const RawStream& stream, const Run& run) {
        constexpr double kMilliseconds = 150;
        const double one = milliseconds(stream, run, 2);
        return std::clamp(static_cast<int>(kMilliseconds / one), 1, 500);
    }

    Session& session_;
    const std::uint64_t bytes_;
    const Content content_;
    const DeviceMemory memory_;
};

struct Case {
    const char* method;
    std::uint64_t piece;
    double goal;
};
constexpr Case kCases[] = {{"", 2 << 20, 0.97},   {"", 32 << 10, 0},     {"batch", 32 << 10, 0},
                           {"batch", 8 << 10, 0}, {"stage", 8 << 10, 0}, {"gather", 8 << 10, 0}};

}  // namespace

void measure_products(Session& session) {
    Beside beside(session);
    const bool quick = session.scale.calls < 100;
    std::string why;
    if (const auto blas = BlasProduct::open(session.scale.product_order, &why)) {
        const Run run = [&](const RawStream& stream, int times) { blas->run(stream, times); };
        for (const Case& one : kCases)
            beside.measure(one.method, one.piece, "cuBLAS bf16 product", run, one.goal);
    } else {
        session.tell("cuBLAS", why);
    }
    const Product product(std::min(session.scale.product_order, 4096U));
    const Run run = [&](const RawStream& stream, int times) { product.run(stream, times); };
    for (const Case& one : kCases) {
        if (quick && one.piece == 32 << 10) continue;
        beside.measure(one.method, one.piece, "own 32 bit product", run, one.goal);
    }
    const std::string fault = product.find_fault();
    session.expect("the products are right", fault.empty(), fault);
}

}  // namespace kvfs::gpu_check
