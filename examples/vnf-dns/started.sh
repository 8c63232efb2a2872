#!/bin/sh
echo "$VNF_NAME answers, process $VNF_PID"
