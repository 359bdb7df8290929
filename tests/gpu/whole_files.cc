// Files as engines write them, loaded and saved whole; and blocks of models' sizes, in layers.
#include <fmt/format.h>
#include <algorithm>

#include "tests/gpu/rig.h"
#include "tests/gpu/session.h"
#include "tools/bench_files.h"
#include "tools/bench_machine.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {
namespace {

struct EngineFile {
    const char* name;
    std::uint64_t bytes;
};
/// Blocks of 16 tokens and chunks of 64 and 256, of one rank, in bf16.
constexpr EngineFile kEngineFiles[] = {{"70B TP8, 16 tokens", 640 << 10},
                                       {"DeepSeek-V3, 16 tokens", 1'124'352},
                                       {"8B, 16 tokens", 2 << 20},
                                       {"8B, 64 tokens", 8 << 20},
                                       {"DeepSeek-V3, 256 tokens", 17'989'632},
                                       {"8B, 256 tokens", 32 << 20},
                                       {"70B, 256 tokens", 80 << 20}};

/// How the KV of 16 tokens lies in a file: block after block, layers within.
struct Model {
    const char* name;
    std::uint64_t bytes_per_token;  ///< of one rank
    std::uint32_t pieces;           ///< of one block: keys and values of each layer
    double goal;                    ///< GB/s that are aimed at
};
constexpr std::uint32_t kBlockTokens16 = 16;
/// 938,000 tokens/s of 70B into a host of eight is the best that was published: 38.4 GB/s a GPU.
constexpr Model kModels[] = {{"Llama-3.1-8B", 131'072, 64, 0},
                             {"Llama-3.3-70B, a rank of 8", 40'960, 160, 38.4},
                             {"DeepSeek-V3", 70'272, 61, 0}};

std::uint32_t count_of(std::uint64_t bytes, std::uint64_t each) {
    return static_cast<std::uint32_t>(std::max<std::uint64_t>(bytes / each, 1));
}

bool fits(const Session& session, std::uint64_t bytes) {
    return bytes <= session.scale.dram_bytes / 8;
}

void measure_saves(Session& session, gm_ctx* mapper, const EngineFile& kind, std::uint32_t count,
                   const DeviceMemory& memory, RawCopies& raw) {
    int round = 0;
    const auto name = [&](std::uint32_t i) { return fmt::format("saved/{}-{}.kv", round, i); };
    session.compare(
        copy_row(std::string("  saved and named one by one: ") + kind.name),
        [&] {
            // The same names again and again: a cache replaces its files all the time, and there
            // is not room for all of these.
            round = (round + 1) % 2;
            return gb_per_s(count * kind.bytes, time_of([&] {
                                for (std::uint32_t i = 0; i < count; ++i)
                                    save_whole(mapper, name(i), memory.at(i * kind.bytes),
                                               kind.bytes);
                            }));
        },
        [&] { return raw.out(); });
}

std::vector<gm_grid> grids_of(const Model& model, std::uint32_t blocks, const DeviceMemory& memory,
                              std::vector<std::int32_t>& ids) {
    const std::uint64_t block = model.bytes_per_token * kBlockTokens16;
    ids.resize(blocks);
    for (std::uint32_t i = 0; i < blocks; ++i) ids[i] = static_cast<std::int32_t>(i);
    for (std::uint32_t i = 0; i + 1 < blocks; ++i)
        std::swap(ids[i], ids[i + (i * 7919 + 1) % (blocks - i)]);
    // In one stretch of device memory for each block; and in a tensor for each layer.
    gm_grid whole{};
    whole.size = sizeof whole;
    whole.piece = static_cast<std::uint32_t>(block);
    whole.file_block_stride = block;
    whole.dev_base = memory.at();
    whole.dev_block_stride = block;
    whole.n_blocks = blocks;
    whole.n_layers = 1;
    whole.block_ids = ids.data();
    gm_grid layers = whole;
    layers.piece = static_cast<std::uint32_t>(block / model.pieces);
    layers.n_layers = model.pieces;
    layers.file_layer_stride = layers.piece;
    layers.dev_block_stride = layers.piece;
    layers.dev_layer_stride = std::uint64_t{layers.piece} * blocks;
    layers.layers_per_group = std::max(model.pieces / 8, 1U);
    return {whole, layers};
}

/// "" or which piece is wrong.
std::string find_fault(const gm_grid& grid, std::span<const std::byte> file,
                       const DeviceMemory& memory) {
    std::vector<std::byte> got(file.size());
    fetch(got, memory.at());
    for (std::uint64_t block = 0; block < grid.n_blocks; ++block)
        for (std::uint64_t layer = 0; layer < grid.n_layers; ++layer) {
            const auto wanted = file.subspan(
                block * grid.file_block_stride + layer * grid.file_layer_stride, grid.piece);
            const std::uint64_t at =
                static_cast<std::uint64_t>(grid.block_ids[block]) * grid.dev_block_stride +
                layer * grid.dev_layer_stride;
            const std::string where = compare(std::span(got).subspan(at, grid.piece), wanted);
            if (!where.empty()) return fmt::format("block {}, layer {}: {}", block, layer, where);
        }
    return "";
}

void measure_model(Session& session, gm_ctx* mapper, const Model& model, RawCopies& raw) {
    const std::uint64_t block = model.bytes_per_token * kBlockTokens16;
    const std::uint32_t blocks = count_of(session.scale.files_bytes, block);
    const std::uint64_t bytes = blocks * block;
    const std::uint64_t tokens = std::uint64_t{blocks} * kBlockTokens16;
    const Content content(bytes, session.seed);
    const FileSet file(mapper, std::string("prompt-") + std::to_string(model.bytes_per_token), 1,
                       bytes, content);
    const DeviceMemory memory(bytes);
    std::vector<std::int32_t> ids;
    for (const gm_grid& grid : grids_of(model, blocks, memory, ids)) {
        const std::string layout = grid.n_layers == 1 ? "whole blocks" : "a tensor a layer";
        memory.fill(0xee);
        BenchRow speed =
            copy_row(fmt::format("{}, {} ({})", model.name, layout, size_text(grid.piece)));
        speed.figure_goal = grid.n_layers == 1 ? model.goal : 0;
        BenchRow rate{fmt::format("  {}, {}", model.name, layout),
                      "tokens/s",
                      Better::kHigher,
                      {},
                      {},
                      "",
                      0};
        session.compare(
            speed,
            [&] {
                const double seconds = time_of([&] {
                    expect_ok(gm_prefetch_grid(file.file(0), &grid, nullptr, nullptr),
                              "gm_prefetch_grid");
                });
                rate.kvfs.values.push_back(static_cast<double>(tokens) / seconds);
                return gb_per_s(bytes, seconds);
            },
            [&] { return raw.in(); });
        rate.kvfs.values.erase(rate.kvfs.values.begin());  // as compare() does
        session.tell(rate);
        const std::string fault = find_fault(grid, content.of(0, bytes), memory);
        session.expect(std::string(model.name) + ", " + layout + ": every piece is in its place",
                       fault.empty(), fault);
    }
}

}  // namespace

void measure_files(Session& session) {
    const Mapper mapper(session.daemons.roomy);
    RawCopies raw(session.scale.raw_bytes);
    for (const EngineFile& kind : kEngineFiles) {
        if (!fits(session, kind.bytes)) continue;
        const std::uint32_t count = count_of(session.scale.files_bytes, kind.bytes);
        const Content content(kind.bytes, session.seed);
        const FileSet files(mapper, "engine-" + std::to_string(kind.bytes), count, kind.bytes,
                            content);
        const DeviceMemory memory(files.total_bytes());
        memory.fill(0xee);
        session.compare(
            copy_row(fmt::format("{}: {} files of {}", kind.name, count, size_text(kind.bytes)),
                     kind.bytes >= 4 << 20 ? 0.97 : 0),
            [&] {
                return gb_per_s(files.total_bytes(), time_of([&] { files.load_all(memory.at()); }));
            },
            [&] { return raw.in(); });
        const std::string wrong = files.compare_all(memory, content);
        session.expect(std::string(kind.name) + ": the files are right", wrong.empty(), wrong);
        measure_saves(session, mapper, kind, count, memory, raw);
    }
}

void measure_models(Session& session) {
    const Mapper mapper(session.daemons.roomy);
    RawCopies raw(session.scale.raw_bytes);
    for (const Model& model : kModels) measure_model(session, mapper, model, raw);
}

}  // namespace kvfs::gpu_check
