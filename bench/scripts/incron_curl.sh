#!/bin/sh
# What incron starts for each file that was moved in: FILE OUT URL
name=${1##*/}
curl --silent --show-error --fail --data-binary "@$1" --output "$2/$name.tmp" "$3" &&
    mv "$2/$name.tmp" "$2/$name" &&
    rm "$1"
