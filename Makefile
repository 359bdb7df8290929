# kvfs. `make help` lists the goals; everything made lies in build/.
#
#   make check                     build all, run every test
#   make check ARGS='--filter=dram_store/*'
#   make BUILD=debug               one of: release debug asan tsan
#   make V=1                       show the commands
#
# New source files need no edit here: folders are read with wildcards.

BUILD   ?= release
O       ?= build/$(BUILD)
VERSION := $(file <VERSION)

# Where `make install` puts things: the GNU names, below DESTDIR.
prefix     ?= /usr/local
bindir     ?= $(prefix)/bin
sbindir    ?= $(prefix)/sbin
libdir     ?= $(prefix)/lib
includedir ?= $(prefix)/include
mandir     ?= $(prefix)/share/man
docdir     ?= $(prefix)/share/doc/kvfs
INSTALL    ?= install

SHELL := /bin/bash
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := all
Q   := $(if $(V),,@)
say  = @printf '  %-6s %s\n'

# ---- Packages -------------------------------------------------------------------------
# tools/bootstrap has its say before pkg-config is asked; both cost milliseconds once all
# is installed. Goals that compile nothing ask neither.

PKG_CONFIG ?= pkg-config
packages   := fuse3 liburing libisal lmdb spdlog nlohmann_json tbb
pkg = $(shell PKG_CONFIG_PATH='$(CURDIR)/build/deps/lib/pkgconfig:$(PKG_CONFIG_PATH)' $(PKG_CONFIG) $(1))

needs_nothing := clean help gpu-check
ifneq ($(filter-out $(needs_nothing),$(or $(MAKECMDGOALS),all)),)
  ifneq ($(shell tools/bootstrap >&2 && echo done),done)
    $(error tools/bootstrap did not succeed; its last message says what to do)
  endif
  ifneq ($(call pkg,--print-errors --exists $(packages) criterion && echo found),found)
    $(error $(PKG_CONFIG) does not find a package (named above); remove build/deps/bootstrap.stamp and run make again)
  endif
  # -isystem: warnings are for our code.
  pkg_cflags  := $(patsubst -I%,-isystem %,$(call pkg,--cflags $(packages)))
  pkg_libs    := $(call pkg,--libs $(packages)) -lboost_program_options
  gpumap_libs := $(call pkg,--libs liburing libisal spdlog) -ldl
  test_libs   := $(call pkg,--libs criterion)
endif

# The CUDA Toolkit is used for its headers only; without one, all the same is built.
nvcc_root := $(patsubst %/bin/nvcc,%,$(realpath $(shell command -v nvcc)))
cuda_h    := $(firstword $(wildcard $(addsuffix /include/cuda.h,$(CUDA_HOME) $(nvcc_root) /usr/local/cuda)))
cuda      := $(if $(cuda_h),-DKVFS_HAVE_CUDA_H -idirafter $(dir $(cuda_h)))

# ---- Flags ----------------------------------------------------------------------------
# One folder per BUILD, so that flags never mix. Asserts stay on in all of them. -g1: backtraces with
# lines, for a third less time to compile than -g; variables are for debug.

flags.release := -O2 -g1
flags.debug   := -O0 -g
flags.asan    := -O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
flags.tsan    := -O1 -g1 -fno-omit-frame-pointer -fsanitize=thread
$(if $(flags.$(BUILD)),,$(error BUILD=$(BUILD) is unknown; it is one of: release debug asan tsan))

CXX      ?= g++
march    := $(if $(filter x86_64,$(shell uname -m)),-march=x86-64-v2)
# g++ 12 sees overlapping copies in std::string's own code (GCC bug 105651).
warnings := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -Wno-restrict
cppflags := -Iinclude -I. -DKVFS_VERSION='"$(VERSION)"' -D_GLIBCXX_ASSERTIONS -D_FILE_OFFSET_BITS=64 \
            $(cuda) $(pkg_cflags) $(CPPFLAGS)
cxxflags := -std=c++20 $(warnings) $(flags.$(BUILD)) $(march) -fPIC -fvisibility=hidden -pthread
ldflags   = $(flags.$(BUILD)) -pthread -Wl,--as-needed $(LDFLAGS)

# ---- What is built from what ------------------------------------------------------------

objects  = $(patsubst %.cc,$(O)/%.o,$(1))
if_any   = $(if $(1),$(2))

lib_src    := $(sort $(wildcard fs/*/*.cc))
base_src   := $(filter fs/base/% fs/io/%,$(lib_src))
gpumap_src := $(sort $(wildcard gpumap/*.cc))
daemon_src := $(sort $(wildcard daemon/*.cc))
tools_src  := $(sort $(wildcard tools/*.cc))
unit_src   := $(sort $(wildcard $(foreach d,unit contract model mount support,tests/$d/*.cc tests/$d/*/*.cc)))
stress_src := $(sort $(wildcard tests/stress/*.cc))
fake_src   := $(sort $(wildcard tests/fake_cuda/*.cc))
idle_src   := $(sort $(wildcard tests/idle_cuda/*.cc))
gpu_src    := $(sort $(wildcard tests/gpu/*.cc))
plant_src  := $(sort $(wildcard tests/planted/*.cc))
all_src    := $(lib_src) $(gpumap_src) $(daemon_src) $(tools_src) $(unit_src) $(stress_src) $(fake_src) $(idle_src) $(gpu_src) $(plant_src)

# The programs but for their main(): tests may call them as functions.
main_src    := %/main.cc daemon/kvfsd.cc tools/kvfs.cc
program_src := $(filter-out $(main_src),$(daemon_src) $(tools_src))

programs := $(call if_any,$(daemon_src),$(O)/kvfsd) $(call if_any,$(tools_src),$(O)/kvfs)
libs     := $(O)/libkvfs.a $(call if_any,$(gpumap_src),$(O)/libgpumap.a $(O)/libgpumap.so)
unit     := $(call if_any,$(unit_src),$(O)/unit)
stress   := $(stress_src:tests/stress/%.cc=$(O)/stress/%)
planted  := $(patsubst tests/%.cc,$(O)/%,$(filter tests/planted/$(BUILD)_%,$(plant_src)))
fake     := $(call if_any,$(fake_src),$(O)/fake_cuda/libcuda.so.1) $(call if_any,$(idle_src),$(O)/idle_cuda/libcuda.so.1)
gpu      := $(call if_any,$(gpu_src),$(O)/gpu-check)
static   := $(O)/libkvfs.a $(O)/libgpumap.a

# A source that is gone must go from what is linked, too: $(O)/sources changes then.
linked = $(filter %.o %.a,$^)
$(static) $(O)/libprograms.a $(O)/libgpumap.so $(programs) $(O)/unit $(O)/gpu-check: $(O)/sources

##@ Build
.PHONY: all
all: $(libs) $(programs)        ## libraries and programs, into build/$(BUILD)

$(O)/libkvfs.a:     $(call objects,$(lib_src))
$(O)/libgpumap.a:   $(call objects,$(gpumap_src) $(base_src))
$(O)/libprograms.a: $(call objects,$(program_src))

$(O)/%.a: ; $(say) AR $@
	$(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)

$(O)/kvfsd: $(call objects,$(daemon_src)) $(O)/libkvfs.a
$(O)/kvfs: $(call objects,$(tools_src)) $(static)
$(O)/kvfsd $(O)/kvfs: ; $(say) LINK $@
	$(Q)$(CXX) $(ldflags) -o $@ $(linked) $(pkg_libs)

# Nothing but gm_* is to be seen from outside.
gpumap_map := $(wildcard gpumap/libgpumap.map)
$(O)/libgpumap.so: $(call objects,$(gpumap_src) $(base_src)) $(gpumap_map); $(say) LINK $@
	$(Q)$(CXX) $(ldflags) -shared -Wl,-soname,libgpumap.so.0 -Wl,--no-undefined \
	    $(gpumap_map:%=-Wl,--version-script=%) -o $@ $(linked) $(gpumap_libs)
	$(Q)ln -sf libgpumap.so $@.0

$(O)/unit: $(call objects,$(unit_src)) $(O)/libprograms.a $(static); $(say) LINK $@
	$(Q)$(CXX) $(ldflags) -o $@ $(linked) $(pkg_libs) $(test_libs)

$(stress): $(O)/stress/%: $(O)/tests/stress/%.o $(static); $(say) LINK $@
	$(Q)mkdir -p $(@D) && $(CXX) $(ldflags) -o $@ $(linked) $(pkg_libs)

$(O)/gpu-check: $(call objects,$(gpu_src)) $(O)/libprograms.a $(static); $(say) LINK $@
	$(Q)$(CXX) $(ldflags) -o $@ $(linked) $(pkg_libs)

# Stand in for the CUDA driver: the real cuda backend runs on one without a GPU, and on the other
# without a driver's work.
$(O)/fake_cuda/libcuda.so.1: $(call objects,$(fake_src))
$(O)/idle_cuda/libcuda.so.1: $(call objects,$(idle_src))
$(fake): ; $(say) LINK $@
	$(Q)mkdir -p $(@D) && $(CXX) $(ldflags) -shared -Wl,-soname,libcuda.so.1 -o $@ $(linked)

# Criterion's macros do not pass -Wconversion; the fake driver must be seen to be loaded.
$(O)/tests/%.o:           cxxflags += -Wno-conversion
$(O)/tests/fake_cuda/%.o $(O)/tests/idle_cuda/%.o: cxxflags += -fvisibility=default

$(O)/%.o: %.cc $(O)/flags; $(say) CXX $<
	$(Q)mkdir -p $(@D) && $(CXX) $(cppflags) $(cxxflags) $(CXXFLAGS) -MMD -MP -c -o $@ $<

# Rewritten only when what they say has changed: flags or version, and all is compiled again;
# the list of sources, and all is linked again.
export flags_now   := $(CXX) $(cppflags) $(cxxflags) $(CXXFLAGS) $(LDFLAGS)
export sources_now := $(all_src)
$(O)/flags $(O)/sources: FORCE
	@mkdir -p $(@D) && printf '%s\n' "$$$(@F)_now" | cmp -s - $@ || printf '%s\n' "$$$(@F)_now" >$@
.PHONY: FORCE

-include $(patsubst %.o,%.d,$(call objects,$(all_src)))

.PHONY: compile_commands.json
compile_commands.json:          ## for editors and clang-tidy, into build/
	@sep='['; for source in $(all_src); do \
	    printf '%s\n{"directory": "%s", "file": "%s", "command": "%s"}' "$$sep" '$(CURDIR)' "$$source" \
	        "$$(sed 's/[\\"]/\\&/g' <<<"$$flags_now -c $$source")"; sep=','; \
	done >build/$@; echo ']' >>build/$@

##@ Test
# The tests' children find the programs through KVFS_BIN; tests/run does the rest.
STRESS_SECONDS ?= 2
run_tests := KVFS_BIN='$(abspath $(O))' KVFS_STRESS_SECONDS='$(STRESS_SECONDS)' NO_SKIP='$(NO_SKIP)' tests/run

.PHONY: check check-clients asan tsan stress unit abi
check: all abi $(unit) $(stress) $(fake) $(gpu) $(planted) ## every test; ARGS='--filter=suite/*' NO_SKIP=1
	$(Q)$(run_tests) $(BUILD) all $(ARGS)

asan:                           ## check, with AddressSanitizer and UBSan
	$(Q)$(MAKE) BUILD=asan check

tsan:                           ## the stress programs, with ThreadSanitizer
	$(Q)$(MAKE) BUILD=tsan stress

unit: all $(unit) $(fake) $(gpu) ## the Criterion tests alone
	$(Q)$(run_tests) $(BUILD) unit $(ARGS)

stress: all $(stress) $(fake) $(planted) ## the stress programs alone; STRESS_SECONDS=60
	$(Q)$(run_tests) $(BUILD) stress

check-clients: all              ## fio, NIXL, rsync, git, SQLite, ... on a mount; ARGS='fio git' NO_SKIP=1
	$(Q)KVFS_BIN='$(abspath $(O))' NO_SKIP='$(NO_SKIP)' tests/clients/run $(ARGS)

abi: all                        ## the library exports what gpumap.h declares, and nothing else
	$(Q)$(call if_any,$(gpumap_map),tests/exports include/gpumap.h $(O)/libgpumap.so)

# Programs with one bug each, that the sanitizers must find: so we know that they look.
$(planted): $(O)/planted/%: $(O)/tests/planted/%.o
	$(Q)mkdir -p $(@D) && $(CXX) $(ldflags) -o $@ $(linked)

# What `make gpu-check` needs, in a folder that can be carried to a machine with a GPU and nothing
# else: the programs once more, which look for their libraries beside themselves.
carried      := build/gpu-check
carried_link  = $(CXX) $(ldflags) -s -Wl,-rpath,'$$ORIGIN/lib' -Wl,--disable-new-dtags -o $@ $(linked) $(pkg_libs)
carried_programs := $(addprefix $(carried)/,kvfsd kvfs gpu-check)
$(carried)/kvfsd:     $(call objects,$(daemon_src)) $(O)/libkvfs.a
$(carried)/kvfs:      $(call objects,$(tools_src)) $(static)
$(carried)/gpu-check: $(call objects,$(gpu_src)) $(O)/libprograms.a $(static)
$(carried_programs): $(O)/sources; $(say) LINK $@
	$(Q)mkdir -p $(@D) && $(carried_link)

.PHONY: gpu-check gpu-check-build
gpu-check-build: $(carried_programs) $(O)/idle_cuda/libcuda.so.1 ## the folder that gpu-check needs where nothing can be built: build/gpu-check
	$(Q)tests/gpu/carry $(carried) $(O)/idle_cuda/libcuda.so.1

# Where nothing is installed to build with, what was carried there is run.
gpu-check:                      ## the cuda backend on a GPU, verified and measured in 8 minutes; OUT=FOLDER ARGS='...'
	$(Q)if [[ -f build/deps/bootstrap.stamp || ! -x $(carried)/gpu-check ]]; then $(MAKE) gpu-check-build; fi
	$(Q)tests/gpu/run $(carried) '$(or $(OUT),build/gpu-check-results)' $(ARGS)

.PHONY: demo bench bench-scale
demo: all                       ## a scripted tour in a private mount; TRACE=FILE
	$(Q)KVFS_BIN='$(abspath $(O))' TRACE='$(TRACE)' tools/demo

bench: all                      ## kvfs bench; ARGS='...'
	$(Q)$(O)/kvfs bench $(ARGS)

bench-scale: all                ## one directory of 10^7 names; NAMES=N, ARGS='--ssd DIR'
	$(Q)$(O)/kvfs bench --only scale --names $(or $(NAMES),10000000) $(ARGS)

##@ Lint
headers := $(sort $(wildcard include/*.h include/*/*.h fs/*/*.h gpumap/*.h daemon/*.h tools/*.h tests/*/*.h tests/*/*/*.h))
scripts := $(wildcard tools/bootstrap tools/demo tools/mount.kvfs tests/run tests/exports tests/lint_self tests/man_pages tests/gpu/carry tests/gpu/run $(filter-out %.py,$(wildcard tests/clients/*)) .ci/run)
pages   := $(sort $(wildcard man/*.[1-8]))
product_src := $(filter-out tests/%,$(all_src))

.PHONY: lint lint-floors lint-limits lint-format lint-threads lint-man lint-scripts lint-ptx lint-self format tidy
lint: lint-floors lint-limits lint-format lint-threads lint-man lint-scripts lint-ptx lint-self ## all of the below but tidy
	@echo 'lint: clean'

lint-floors:                    ## includes go down or stay in their folder
	$(Q)awk -f tests/floors.awk /dev/null $(all_src) $(headers)

lint-limits:                    ## length of files and functions, names of files
	$(Q)printf '%s\n' $(all_src) $(headers) | ctags -L - -f - --languages=C++ --kinds-C++=f --fields=+ne | \
	    awk -f tests/limits.awk - $(all_src) $(headers)

lint-format:                    ## clang-format; `make format` mends it
	$(Q)clang-format --dry-run --Werror $(all_src) $(headers) 2>&1 | \
	    sed -n 's/: error: .*/: not as `make format` would have it/p' | awk -F: '!seen[$$1]++ { bad = 1; print } END { exit bad }'

lint-threads: $(product_src:%.cc=build/lint/%.threads) ## lock annotations, by clang

lint-man:                       ## man pages, one for each function of gpumap.h
	$(Q)tests/man_pages include/gpumap.h $(pages)

lint-scripts:                   ## shellcheck
	$(Q)shellcheck $(scripts)

kernels := gpumap/kernels.cu tests/gpu/matrix.cu
lint-ptx:                       ## the committed kernels are those of the .cu files
	$(Q)for source in $(kernels); do \
	    grep -qF "($$(cksum <$$source))" "$${source%.cu}_ptx.h" || { echo "$${source%.cu}_ptx.h is not of $$source: make ptx"; exit 1; }; \
	done

lint-self:                      ## the checks themselves: each must catch a planted violation
	$(Q)tests/lint_self

format:                         ## rewrite the sources as clang-format would have them
	$(Q)clang-format -i $(all_src) $(headers)

tidy: compile_commands.json     ## clang-tidy; minutes
	$(Q)printf '%s\n' $(product_src) | xargs -P "$$(nproc)" -n 1 clang-tidy --quiet -p build 2> >(grep -v 'warnings\? generated' >&2)

# clang 14 cannot parse all of libstdc++ (<ranges>): what it cannot parse is named and left.
build/lint/%.threads: %.cc
	$(Q)mkdir -p $(@D); out=$$(clang++ $(cppflags) -std=c++20 -pthread -fsyntax-only -MMD -MP -MT $@ -MF $@.d \
	    -Wno-everything -Wthread-safety -Werror=thread-safety -ferror-limit=0 $< 2>&1) && touch $@ && exit 0; \
	if grep -q 'Wthread-safety' <<<"$$out"; then grep -A 4 'Wthread-safety' <<<"$$out"; exit 1; fi; \
	echo "lint: note: clang cannot parse $<: lock annotations not checked there"
-include $(product_src:%.cc=build/lint/%.threads.d)

##@ Other
# Kernels are committed compiled, so that who builds needs no Toolkit. PTX of version 7.4 is taken by
# all drivers from 11.4 on, which then compile it for their device.
# $(call write_ptx,SOURCE.cu,NAMESPACE,CONSTANT)
define write_ptx
	$(Q)mkdir -p $(O) && nvcc -ptx -O3 -arch=compute_75 -o $(O)/kernels.ptx $(1)
	$(Q){ echo '// Made from $(notdir $(1)) ($(shell cksum <$(1))) by `make ptx`; not to be edited.'; echo '#pragma once'; \
	    echo 'namespace $(2) {'; echo 'inline constexpr const char $(3)[] = R"ptx('; \
	    sed -e '/^\/\//d; /^[ \t]*\/\//d; /^$$/d; s/^\.version .*/.version 7.4/' $(O)/kernels.ptx; \
	    echo ')ptx";'; echo '}  // namespace $(2)'; } >$(1:.cu=_ptx.h)
endef
.PHONY: ptx
ptx: $(kernels)                 ## the committed kernels from the .cu files, with nvcc
	$(call write_ptx,gpumap/kernels.cu,kvfs::gpumap,kKernelsPtx)
	$(call write_ptx,tests/gpu/matrix.cu,kvfs::gpu_check,kMatrixPtx)

.PHONY: install clean help
install: all                    ## into $(DESTDIR)$(prefix)
	$(call if_any,$(daemon_src),$(INSTALL) -D -m755 -t '$(DESTDIR)$(sbindir)' $(O)/kvfsd $(wildcard tools/mount.kvfs))
	$(call if_any,$(tools_src),$(INSTALL) -D -m755 -t '$(DESTDIR)$(bindir)' $(O)/kvfs)
	$(INSTALL) -D -m644 -t '$(DESTDIR)$(includedir)' include/gpumap.h
	$(INSTALL) -D -m644 -t '$(DESTDIR)$(libdir)' $(O)/libgpumap.a
	$(INSTALL) -D -m755 $(O)/libgpumap.so '$(DESTDIR)$(libdir)/libgpumap.so.$(VERSION)'
	ln -sf libgpumap.so.$(VERSION) '$(DESTDIR)$(libdir)/libgpumap.so.0'
	ln -sf libgpumap.so.0 '$(DESTDIR)$(libdir)/libgpumap.so'
	$(INSTALL) -d '$(DESTDIR)$(libdir)/pkgconfig'
	sed -e 's,@prefix@,$(prefix),; s,@libdir@,$(libdir),; s,@includedir@,$(includedir),' \
	    -e 's,@version@,$(VERSION),; s,@libs_private@,$(gpumap_libs) -lstdc++ -pthread,' \
	    tools/gpumap.pc.in >'$(DESTDIR)$(libdir)/pkgconfig/gpumap.pc'
	$(INSTALL) -D -m644 -t '$(DESTDIR)$(docdir)' $(wildcard LICENSE *.md)
	for page in $(pages); do \
	    $(INSTALL) -d "$(DESTDIR)$(mandir)/man$${page##*.}" && \
	    sed 's/@VERSION@/$(VERSION)/g' "$$page" >"$(DESTDIR)$(mandir)/man$${page##*.}/$${page#man/}" || exit; \
	done

clean:                          ## remove what was built, but not build/deps
	$(Q)find build -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} + 2>/dev/null || true

help:                           ## this list
	@awk -F ':.*## ' '/^##@/ { print "\n" substr($$0, 5) } \
	    /^[a-z_.-]+:.*## / { printf "  %-22s %s\n", $$1, $$2 }' Makefile
	@printf '\n  BUILD=%s (release debug asan tsan)  V=1 shows commands  prefix=%s\n' '$(BUILD)' '$(prefix)'
