#include <array>
#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "tests/unit/namespace_fixture.h"

// Random changes, made to a Namespace and to the plainest thing that could be one; after each the
// answers agree, and now and then all that is in them. KVFS_SEED=n repeats a run.

using namespace namespace_fixture;

TestSuite(namespace_model, .timeout = 120, .init = set_up, .fini = tear_down);

using Flag = Namespace::RenameFlag;

namespace {

class Model {
  public:
    struct Node {
        bool folder = false;
        Ino parent = 0;  ///< 0: the root or an orphan
        std::string name{};
        bool placed = false;
        std::map<std::string, Ino> entries{};
    };

    Model() { nodes_[kRootIno].folder = true; }

    int check_folder(Ino ino) const {
        if (!nodes_.contains(ino)) return ENOENT;
        return nodes_.at(ino).folder ? 0 : ENOTDIR;
    }
    /// 0 with the entry's inode in `found`.
    int find(Ino parent, const std::string& name, Ino& found) const {
        if (const int failed = check_folder(parent)) return failed;
        const auto& entries = nodes_.at(parent).entries;
        const auto entry = entries.find(name);
        if (entry == entries.end()) return ENOENT;
        found = entry->second;
        return 0;
    }
    int check_create(Ino parent, const std::string& name) const {
        Ino there = 0;
        const int found = find(parent, name, there);
        return found == 0 ? EEXIST : found == ENOENT ? check_folder(parent) : found;
    }
    void create(Ino ino, Ino parent, const std::string& name, bool folder) {
        nodes_[ino] = {.folder = folder};
        attach(ino, parent, name);
    }
    void create_unnamed(Ino ino) { nodes_[ino] = {}; }

    int unlink(Ino parent, const std::string& name) {
        Ino ino = 0;
        if (const int failed = find(parent, name, ino)) return failed;
        if (nodes_[ino].folder) return EISDIR;
        detach(ino);
        return 0;
    }
    int rmdir(Ino parent, const std::string& name) {
        Ino ino = 0;
        if (const int failed = find(parent, name, ino)) return failed;
        if (!nodes_[ino].folder) return ENOTDIR;
        if (!nodes_[ino].entries.empty()) return ENOTEMPTY;
        detach(ino);
        nodes_.erase(ino);
        return 0;
    }
    int erase(Ino ino) {
        if (!nodes_.contains(ino)) return 0;
        if (ino == kRootIno || nodes_[ino].parent != 0) return EINVAL;
        nodes_.erase(ino);
        return 0;
    }
    int remove(Ino ino) {
        if (!nodes_.contains(ino)) return ENOENT;
        if (nodes_[ino].folder) return EISDIR;
        if (nodes_[ino].parent != 0) detach(ino);
        nodes_.erase(ino);
        return 0;
    }
    int place(Ino ino, bool placed) {
        if (!nodes_.contains(ino)) return ENOENT;
        if (nodes_[ino].folder) return EINVAL;
        nodes_[ino].placed = placed;
        return 0;
    }
    int give_name(Ino ino, Ino parent, const std::string& name) {
        if (!nodes_.contains(ino)) return ENOENT;
        if (ino == kRootIno || nodes_[ino].parent != 0) return EINVAL;
        if (const int failed = check_folder(parent)) return failed;
        Ino old = 0;
        if (find(parent, name, old) == 0) {
            if (nodes_[old].folder) return EISDIR;
            detach(old);
        }
        attach(ino, parent, name);
        return 0;
    }
    int rename(Ino parent, const std::string& name, Ino new_parent, const std::string& new_name,
               Flag flag) {
        Ino source = 0;
        Ino target = 0;
        if (const int failed = find(parent, name, source)) return failed;
        if (const int failed = check_folder(new_parent)) return failed;
        const bool over = find(new_parent, new_name, target) == 0;
        if (over && source == target) return flag == Flag::no_replace ? EEXIST : 0;
        if (over && flag == Flag::no_replace) return EEXIST;
        if (!over && flag == Flag::exchange) return ENOENT;
        if (is_above(source, new_parent)) return EINVAL;
        if (flag == Flag::exchange && is_above(target, parent)) return EINVAL;
        if (over && flag == Flag::replace) {
            if (nodes_[source].folder && !nodes_[target].folder) return ENOTDIR;
            if (!nodes_[source].folder && nodes_[target].folder) return EISDIR;
            if (!nodes_[target].entries.empty()) return ENOTEMPTY;
        }
        if (stays(source, new_parent)) return EXDEV;
        if (flag == Flag::exchange && stays(target, parent)) return EXDEV;

        detach(source);
        if (over) detach(target);
        attach(source, new_parent, new_name);
        if (flag == Flag::exchange)
            attach(target, parent, name);
        else if (over && nodes_[target].folder)
            nodes_.erase(target);
        return 0;
    }

    Ino volume_of(Ino ino) const {
        if (ino == kRootIno) return kRootIno;
        return volume_in(ino, nodes_.at(ino).parent);
    }
    const std::map<Ino, Node>& nodes() const { return nodes_; }

  private:
    void detach(Ino ino) {
        Node& node = nodes_[ino];
        nodes_[node.parent].entries.erase(node.name);
        node.parent = 0;
    }
    void attach(Ino ino, Ino parent, const std::string& name) {
        nodes_[ino].parent = parent;
        nodes_[ino].name = name;
        nodes_[parent].entries[name] = ino;
    }
    bool is_above(Ino ino, Ino below) const {
        while (below != ino && below != 0) below = nodes_.at(below).parent;
        return below == ino;
    }
    Ino volume_in(Ino ino, Ino parent) const {
        if (parent == kRootIno) return nodes_.at(ino).folder ? ino : kRootIno;
        return volume_of(parent);
    }
    bool stays(Ino ino, Ino parent) const {
        return !nodes_.at(ino).entries.empty() && volume_in(ino, parent) != volume_of(ino);
    }

    std::map<Ino, Node> nodes_;
};

/// All of it, both ways. Orphans' volumes are what they were.
void expect_same(const Model& model) {
    std::set<Ino> unsettled;
    std::uint64_t folders = 0;
    std::uint64_t named = 0;
    for (const auto& [ino, node] : model.nodes()) {
        const Inode inode = get(ino);
        cr_assert_eq(inode.is_directory(), node.folder);
        cr_assert_eq(inode.parent, node.parent);
        if (node.parent != 0) cr_assert_eq(inode.name, node.name);
        const bool orphan = node.parent == 0 && ino != kRootIno;
        if (!orphan) cr_assert_eq(inode.volume, model.volume_of(ino));
        if (!node.folder && (orphan || !node.placed)) unsettled.insert(ino);
        if (!node.folder) {
            named += orphan ? 0 : 1;
            cr_assert_eq(inode.nlink, orphan ? 0 : 1);
            continue;
        }
        ++folders;
        std::vector<std::string> entries;
        std::uint32_t subfolders = 0;
        for (const auto& [name, entry] : node.entries) {
            entries.push_back(name);
            subfolders += model.nodes().at(entry).folder ? 1 : 0;
            cr_assert_eq(names->lookup(ino, name)->ino, entry);
        }
        cr_assert(same_names(listing(ino), entries));
        cr_assert_eq(inode.size, entries.size());
        cr_assert_eq(inode.nlink, 2 + subfolders);
    }
    const auto found = names->unsettled();
    std::set<Ino> seen;
    for (const Inode& inode : *found) seen.insert(inode.ino);
    cr_assert(seen == unsettled && found->size() == seen.size());
    cr_assert_eq(names->counts().directories, folders);
    cr_assert_eq(names->counts().files, named);
}

/// One random walk over few names, so that they often meet.
class Walk {
  public:
    explicit Walk(std::uint64_t seed) : random_(seed) {}

    void step() {
        const std::string name = pick_name();
        const Ino parent = pick_ino();
        switch (pick(12)) {
            case 0:
            case 1:
            case 2:
                return create(parent, name, false);
            case 3:
            case 4:
                return create(parent, name, true);
            case 5:
                return agree(code(names->unlink(parent, name)), model.unlink(parent, name));
            case 6:
                return agree(code(names->rmdir(parent, name)), model.rmdir(parent, name));
            case 7:
            case 8:
                return rename(parent, name);
            case 9:
                return by_number(parent);
            case 10:
                return draft(parent, name);
            default:
                return place(parent);
        }
    }

    Model model;

  private:
    std::uint64_t pick(std::uint64_t below) { return random_() % below; }
    std::string pick_name() { return std::string(1, static_cast<char>('a' + pick(6))); }
    Ino pick_ino() {
        if (pick(50) == 0) return 999'999;  // there is none
        auto node = model.nodes().begin();
        std::advance(node, static_cast<long>(pick(model.nodes().size())));
        return node->first;
    }
    void agree(int real, int expected) {
        cr_assert_eq(real, expected, "step answered %d, the model %d", real, expected);
    }

    void create(Ino parent, const std::string& name, bool as_folder) {
        const int expected = model.check_create(parent, name);
        const auto made = names->create(parent, name, as_folder ? folder() : file());
        agree(code(made), expected);
        if (made) model.create(made->ino, parent, name, as_folder);
    }
    void rename(Ino parent, const std::string& name) {
        constexpr std::array kFlags = {Flag::replace, Flag::replace, Flag::no_replace,
                                       Flag::exchange};
        const Flag flag = kFlags[pick(kFlags.size())];
        const Ino new_parent = pick(3) == 0 ? parent : pick_ino();
        const std::string new_name = pick_name();
        agree(code(names->rename(parent, name, new_parent, new_name, flag)),
              model.rename(parent, name, new_parent, new_name, flag));
    }
    void by_number(Ino ino) {
        if (pick(2) == 0) return agree(code(names->erase(ino)), model.erase(ino));
        agree(code(names->remove(ino)), model.remove(ino));
    }
    void draft(Ino parent, const std::string& name) {
        if (pick(2) == 0) {
            const auto made = names->create_unnamed(file());
            cr_assert(made.ok());
            return model.create_unnamed(made->ino);
        }
        const Ino ino = pick_ino();
        agree(code(names->give_name(ino, parent, name)), model.give_name(ino, parent, name));
    }
    void place(Ino ino) {
        const bool placed = pick(3) != 0;
        const auto placement = placed ? std::optional(Placement{.size = 1}) : std::nullopt;
        agree(code(names->set_placement(ino, placement)), model.place(ino, placed));
    }

    std::mt19937_64 random_;
};

}  // namespace

Test(namespace_model, random_changes_agree_with_a_map) {
    const char* given = std::getenv("KVFS_SEED");
    const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : 20240917;
    cr_log_info("KVFS_SEED=%lu", static_cast<unsigned long>(seed));
    Walk walk(seed);
    for (int step = 1; step <= 40'000; ++step) {
        walk.step();
        if (step % 500 == 0) expect_same(walk.model);
        if (step % 5000 == 0) {
            reopen();
            expect_same(walk.model);
        }
    }
}
