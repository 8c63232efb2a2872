#!/bin/sh
echo "$VNF_NAME answers no more: ${VNF_EXIT_CODE:+code $VNF_EXIT_CODE}${VNF_EXIT_SIGNAL:+signal $VNF_EXIT_SIGNAL}"
