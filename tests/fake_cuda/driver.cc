#include "tests/fake_cuda/driver.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace fake_cuda {

Driver& Driver::instance() {
    static auto* driver = new Driver;  // its threads live as long as the process
    return *driver;
}

Driver::Driver() : process_(::getpid()) {
    if (const char* knobs = std::getenv("FAKE_CUDA")) control(knobs);
}

void Driver::control(const std::string& knobs) {
    const Lock lock(mutex_);
    std::istringstream items(knobs);
    for (std::string item; std::getline(items, item, ',');) {
        const auto equals = item.find('=');
        if (equals != std::string::npos) set(item.substr(0, equals), item.substr(equals + 1));
    }
}

void Driver::set(const std::string& name, const std::string& value) {
    const std::uint64_t number = std::strtoull(value.c_str(), nullptr, 10);
    const int small = static_cast<int>(number);
    if (name == "delay_us") knobs_.delay_us = static_cast<std::uint32_t>(number);
    if (name == "jitter_us") knobs_.jitter_us = static_cast<std::uint32_t>(number);
    if (name == "reverse") knobs_.reverse = small != 0;
    if (name == "poison") knobs_.poison = small != 0;
    if (name == "read_only") knobs_.read_only = small != 0;
    if (name == "register_max") knobs_.register_max = number;
    if (name == "register_total") knobs_.register_total = number;
    if (name == "memory") knobs_.memory = number;
    if (name == "missing") knobs_.missing = value;
    if (name == "version") knobs_.version = small;
    if (name == "batch") knobs_.batch = small != 0;
    if (name == "devices") knobs_.devices = small;
    if (name == "init") knobs_.init = small;
    if (name == "crash") knobs_.crash = value;
    if (name == "damage") knobs_.damage = number;
    if (name == "strict") knobs_.strict = small != 0;
    if (name == "module") knobs_.module = small != 0;
    if (name == "fail_with") knobs_.fail_with = small;
    if (name == "fail_work") {
        knobs_.fail_work = number;
        work_done_ = 0;
    }
    if (name == "fail") {
        const auto colon = value.find(':');
        knobs_.fail = value.substr(0, colon);
        knobs_.fail_call =
            colon == std::string::npos ? 0 : std::strtoull(&value[colon + 1], nullptr, 10);
        calls_to_fail_ = 0;
    }
}

cuda::Result Driver::call(const char* name) {
    const Lock lock(mutex_);
    // What a real one says in the child of a process that has used it.
    if (::getpid() != process_) return cuda::kNotInitialized;
    ++calls_[name];
    if (knobs_.crash == name) std::abort();
    if (knobs_.fail == name && (++calls_to_fail_ == knobs_.fail_call || knobs_.fail_call == 0))
        return knobs_.fail_with;
    return cuda::kSuccess;
}

std::uint64_t Driver::calls(const std::string& name) {
    const Lock lock(mutex_);
    return calls_[name];
}

Knobs Driver::knobs() {
    const Lock lock(mutex_);
    return knobs_;
}

cuda::Result Driver::init() {
    const Lock lock(mutex_);
    return knobs_.init;
}

void Driver::complain(const std::string& about) {
    const Lock lock(mutex_);
    ++complaints_;
    last_complaint_ = about;
    if (!knobs_.strict) return;
    std::fprintf(stderr, "fake driver: %s\n", about.c_str());
    std::abort();
}

std::uint64_t Driver::complaints(std::string* last) {
    const Lock lock(mutex_);
    *last = last_complaint_;
    return complaints_;
}

}  // namespace fake_cuda
