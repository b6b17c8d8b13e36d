# Must be reported as not run.
. "$LAB_DIR/inside/lib.sh"
