#pragma once
#include <iosfwd>
#include <string>

#include "fs/base/clock.h"
#include "tools/replay_run.h"
#include "tools/verb.h"

namespace kvfs {

/// What the daemon counted between two looks at its statistics: counters only, by their names.
Json statistics_difference(const Json& before, const Json& after);

/// The report; kvfs(1) lists its keys. `way`: "mapper" or "mount".
Json make_replay_report(const std::string& source, const std::string& way, const ReplayPlan& plan,
                        const ReplayResult& result, const Json& daemon_counters);

/// The same for people.
void print_replay_report(const Json& report, std::ostream& out);

/// Progress on stderr: one line that is rewritten on a terminal, else a line every tenth of the
/// way.
class ProgressLine {
  public:
    ProgressLine(std::ostream& err, bool on_terminal, const ReplayPlan& plan)
        : err_(err),
          on_terminal_(on_terminal),
          requests_(plan.requests.size()),
          block_bytes_(plan.block_bytes) {}
    void show(const ReplayResult& so_far);
    /// Leaves the terminal's cursor on a new line.
    void end();

  private:
    std::ostream& err_;
    bool on_terminal_;
    std::uint64_t requests_;
    std::uint64_t block_bytes_;
    std::uint64_t steps_shown_ = 0;
    Clock::time_point last_shown_ = Clock::now();
};

}  // namespace kvfs
