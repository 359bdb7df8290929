#include "tests/gpu/session.h"

namespace kvfs::gpu_check {

/// In order of worth, as the time may run out; but what is on SSD comes before others write there.
const std::vector<Section>& sections() {
    static const std::vector<Section> all{
        {"machine", "what this was measured on", 30, see_machine},
        {"verify", "every way to copy, bit for bit", 60, verify_copies},
        {"ssd", "files on SSD", 60, measure_cold_files},
        {"raw", "what the bus can do", 30, measure_raw},
        {"directions", "blocks of 2 MiB, in each direction and in both", 30, measure_directions},
        {"latency", "what is a matter of microseconds", 40, measure_latency},
        {"files", "files of engines' sizes in DRAM, loaded and saved", 60, measure_files},
        {"models", "prompts of models, from DRAM", 40, measure_models},
        {"sweep", "pieces of all sizes, by each method", 150, sweep_pieces},
        {"products", "matrix products beside loads", 60, measure_products},
        {"descriptors", "the processor's work over a driver that does nothing", 30,
         measure_descriptors},
        {"registration", "memory made ready for the device", 60, measure_registration},
        {"register-again", "the same memory in a second process", 60, register_again},
        {"waits", "streams that wait for a value", 20, ask_about_waits},
        {"batches", "batches of more and more copies", 30, measure_batch_sizes}};
    return all;
}

}  // namespace kvfs::gpu_check
