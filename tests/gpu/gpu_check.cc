// gpu-check: everything about libgpumap that needs a GPU, in one run of some minutes. `make
// gpu-check` builds and runs it; tests/gpu/run says what it needs.
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <iostream>
#include <random>

#include "fs/base/clock.h"
#include "fs/base/size.h"
#include "tests/gpu/children.h"
#include "tests/gpu/raw_gpu.h"
#include "tests/gpu/report.h"
#include "tests/gpu/session.h"
#include "tools/bench_machine.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {
namespace {

enum : int { kHeld = 0, kDidNotHold = 1, kUsage = 2, kNoGpu = 77 };
/// The last seconds of the run are for ending it in order.
constexpr unsigned kReserve = 10;
constexpr const char* kProbe = "probe";
constexpr unsigned kProbeSeconds = 60;

po::options_description options() {
    po::options_description options("Options");
    options.add_options()                    //
        ("help", po::bool_switch(), "this")  //
        ("out", po::value<std::string>()->default_value("."),
         "where gpu-check.md, .json and .jsonl go")  //
        ("scratch", po::value<std::string>(),
         "a directory on the SSD to be measured (default: /var/tmp, /tmp or that of --out, the "
         "first that can hold a cache)")                                           //
        ("kvfsd", po::value<std::string>()->default_value("kvfsd"), "the daemon")  //
        ("only", po::value<std::vector<std::string>>()->default_value({}, "all"),
         "a section; may be given again")  //
        ("small", po::bool_switch(),
         "so little that a driver without a device gets through it; the figures say nothing")  //
        ("dram", po::value<std::string>(),
         "of the daemon that holds everything (default: 12GiB)")                          //
        ("seconds", po::value<unsigned>()->default_value(480), "bound of the whole run")  //
        ("seed", po::value<std::uint64_t>(), "of all that is random (default: another one)");
    return options;
}

/// What a process that runs one section is told besides.
po::options_description options_of_sections() {
    po::options_description options;
    options.add_options()("section", po::value<std::string>())  //
        ("roomy", po::value<std::string>()->default_value(""))  //
        ("tight", po::value<std::string>()->default_value(""))  //
        ("tight-objects", po::value<std::string>()->default_value(""));
    return options;
}

std::string text(const po::variables_map& given, const char* option) {
    return given.at(option).as<std::string>();
}

const Section* find_section(const std::string& name) {
    for (const Section& one : sections())
        if (one.name == name) return &one;
    return nullptr;
}

Scale scale_of(const po::variables_map& given) {
    Scale scale = given.at("small").as<bool>() ? Scale::small() : Scale{};
    if (!given.contains("dram")) return scale;
    const auto bytes = parse_size(text(given, "dram"));
    if (!bytes) throw UsageError("--dram: " + bytes.error().what);
    scale.dram_bytes = *bytes;
    return scale;
}

/// In a process of its own: the one that runs the sections must not depend on the driver.
int probe() {
    try {
        RawGpu::get();
        return kHeld;
    } catch (const NoGpu& none) {
        std::cerr << "gpu-check: there is no GPU to check: " << none.what() << '\n';
        return kNoGpu;
    }
}

int run_section(const po::variables_map& given) {
    const std::string name = text(given, "section");
    if (name == kProbe) return probe();
    const Section* section = find_section(name);
    if (section == nullptr) throw UsageError("no section '" + name + "'");
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody is left to bound its time
    Session session(name, text(given, "out") + "/gpu-check.jsonl", scale_of(given),
                    {text(given, "roomy"), text(given, "tight"), text(given, "tight-objects")},
                    given.at("seed").as<std::uint64_t>());
    try {
        section->run(session);
        return session.all_held() ? kHeld : kDidNotHold;
    } catch (const std::exception& failure) {
        session.expect("the section gets to its end", false, failure.what());
        return kDidNotHold;
    }
}

std::string now_text() {
    std::array<char, 40> text{};
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M UTC", &parts);
    return text.data();
}

/// The run of all sections, and what it leaves behind.
class Check {
  public:
    explicit Check(const po::variables_map& given)
        : given_(given),
          out_(text(given, "out")),
          log_(out_ + "/gpu-check.jsonl"),
          started_(now_text()),
          end_(Clock::now() + std::chrono::seconds(given.at("seconds").as<unsigned>())),
          scale_(scale_of(given)) {
        std::filesystem::create_directories(out_);
        std::filesystem::remove(log_);
    }

    int run() {
        if (const std::string ended = run_again(kProbe, kProbeSeconds); ended == "exit 77")
            return kNoGpu;
        start_daemon(roomy_, scale_.dram_bytes, "roomy");
        const auto& only = given_.at("only").as<std::vector<std::string>>();
        for (const Section& section : sections()) {
            const std::string name = section.name;
            if (name == "register-again") continue;  // the registration's own
            const bool wanted = only.empty() || std::ranges::find(only, name) != only.end();
            if (!wanted && name != "machine") continue;
            run_one(section);
            write_report();
        }
        const Report report = Report::read(log_);
        for (const std::string& failure : report.failures())
            std::cerr << "gpu-check: FAILED: " << failure << '\n';
        return report.failed() ? kDidNotHold : kHeld;
    }

  private:
    void run_one(const Section& section) {
        check_interrupted();
        if (section.run == verify_copies || section.run == measure_cold_files)
            start_daemon(tight_, scale_.tight_bytes, "tight");
        const auto left =
            std::chrono::duration_cast<std::chrono::seconds>(end_ - Clock::now()).count() -
            kReserve;
        Session session(section.name, log_, scale_, {}, 0);
        if (left < 2) {
            session.expect("there is time for it", false, "the run's bound has come");
            return;
        }
        std::cerr << "gpu-check: " << section.name << ": " << section.what << std::endl;
        const std::string ended =
            run_again(section.name, std::min(section.seconds, static_cast<unsigned>(left)));
        // What did not hold has been told; what ended otherwise has not.
        if (!ended.empty() && ended != "exit 1")
            session.expect("the section gets to its end", false, ended);
    }

    void start_daemon(std::unique_ptr<BenchDaemon>& daemon, std::uint64_t dram,
                      const std::string& name) {
        if (daemon) return;
        std::vector<std::string> places{"/var/tmp", "/tmp", out_};
        if (given_.contains("scratch")) places = {text(given_, "scratch")};
        for (const std::string& place : places) {
            try {
                daemon = std::make_unique<BenchDaemon>(BenchDaemon::Options{
                    text(given_, "kvfsd"), place, dram, scale_.ssd_bytes, false});
                break;
            } catch (const Failure& failure) {
                if (place == places.back()) throw;
                std::cerr << "gpu-check: not in " << place << ": " << failure.what() << '\n';
            }
        }
        remember_option("--" + name + "=" + daemon->socket());
        if (name == "tight") remember_option("--tight-objects=" + daemon->ssd() + "/objects");
    }

    void write_report() const {
        const Report report = Report::read(log_);
        std::string title = "gpu-check of kvfs " KVFS_VERSION ", " + started_;
        if (given_.at("small").as<bool>()) title += " (small: figures say nothing)";
        write_whole(out_ + "/gpu-check.md", report.markdown(title));
        write_whole(out_ + "/gpu-check.json", report.json(title).dump(1) + "\n");
    }

    const po::variables_map& given_;
    const std::string out_;
    const std::string log_;
    const std::string started_;
    const Deadline end_;
    const Scale scale_;
    std::unique_ptr<BenchDaemon> roomy_;
    std::unique_ptr<BenchDaemon> tight_;
};

int run(int count, char** words) {
    po::options_description known;
    known.add(options()).add(options_of_sections());
    po::variables_map given;
    po::store(po::parse_command_line(count, words, known), given);
    po::notify(given);
    if (given.at("help").as<bool>()) {
        std::cout << "gpu-check [OPTION...]\n" << options();
        return kHeld;
    }
    remember_options(count - 1, words + 1);
    if (given.contains("section")) return run_section(given);
    if (!given.contains("seed")) {
        const std::string seed = std::to_string(std::random_device()());
        remember_option("--seed=" + seed);
        std::cerr << "gpu-check: --seed " << seed << '\n';
    }
    for (const std::string& name : given.at("only").as<std::vector<std::string>>())
        if (find_section(name) == nullptr) throw UsageError("--only: no section '" + name + "'");
    catch_interrupts();
    return Check(given).run();
}

}  // namespace
}  // namespace kvfs::gpu_check

int main(int count, char** words) {
    try {
        return kvfs::gpu_check::run(count, words);
    } catch (const kvfs::UsageError& error) {
        std::cerr << "gpu-check: " << error.what() << '\n';
        return 2;
    } catch (const boost::program_options::error& error) {
        std::cerr << "gpu-check: " << error.what() << '\n';
        return 2;
    } catch (const std::exception& error) {
        std::cerr << "gpu-check: " << error.what() << '\n';
        return 1;
    }
}
