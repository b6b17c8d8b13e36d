# Must be skipped.
. "$LAB_DIR/inside/lib.sh"
skip "it says so"
