#!/bin/sh
echo "$VNF_NAME routes, zebra is $VNF_PID"
