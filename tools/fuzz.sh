#!/bin/sh
# Fuzz with libFuzzer: tools/fuzz.sh [SECONDS [WORD]]   each fuzzer for SECONDS (60), only those whose names contain WORD.
#
# Builds with clang and the address and undefined-behaviour sanitizers into build-fuzz/. What was learnt is kept there; a
# finding is written to test/corpus/ beside the fuzzer's other inputs, where every later run replays it.
# Exit: 0 nothing found, 1 something was, 3 clang is missing or the build failed.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
word=${2:-}

clang=
for name in clang clang-19 clang-16 clang-15 clang-14; do
    if command -v "$name" >/dev/null 2>&1; then
        clang=$name
        break
    fi
done
if [ -z "$clang" ]; then
    echo "clang is not installed; tools/install_packages.sh fuzz installs it" >&2
    exit 3
fi
CC=$clang tools/build.sh build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false -Dtests=enabled || exit 3

# Program, and its folder in test/corpus.
fuzzers='src/base/base_json_fuzz json
src/log/log_file_log_fuzz log_segment
src/vault/vault_slots_fuzz vault_slots
src/vault/vault_sealed_fuzz vault_sealed
src/journal/journal_codec_fuzz codec
src/journal/journal_run_fuzz run
src/journal/journal_append_json_fuzz append_json
src/journal/journal_cloudevents_fuzz cloudevents
src/journal/journal_retention_fuzz retention
src/journal/journal_signed_checkpoint_fuzz signed_checkpoint
src/command/command_fields_fuzz command
src/view/view_grammar_fuzz grammar
src/view/view_definition_fuzz definition
src/view/view_text_fuzz view_text
src/replica/replica_wire_fuzz wire
src/group/group_record_fuzz group
src/http/http_text_fuzz http
src/server/server_jwt_fuzz jwt
breaker/breaker_attach_fuzz breaker_attach
breaker/breaker_config_fuzz breaker_config'

found=0
while read -r program corpus; do
    case "$program" in
    *"$word"*) ;;
    *) continue ;;
    esac
    learnt=build-fuzz/learnt/$corpus
    mkdir -p "$learnt"
    echo "$program, $seconds s"
    if ! "build-fuzz/$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -verbosity=0 \
        -artifact_prefix="test/corpus/$corpus/found-" "$learnt" "test/corpus/$corpus" </dev/null; then
        found=1
    fi
done <<EOF
$fuzzers
EOF
exit $found
