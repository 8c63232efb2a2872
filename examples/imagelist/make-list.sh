#!/bin/sh
# Makes a signed image list to try things with: a small certificate authority of its own, an endorser, the list.
#
#   make-list.sh FOLDER VERSION IDENTIFIER=FILE[:FORMAT]...
#
# The first call makes FOLDER/ca (the trust folder), FOLDER/private (keys, closed to others) and the list; later calls
# sign another version of it. The images are copied to FOLDER/images. Addresses are `file://FOLDER/...`, or begin with
# $BASE where a web server gives the folder out. Needs openssl (3.0 or later). For tests: the keys have no passphrase.
set -eu

if [ $# -lt 3 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
mkdir -p "$1"
folder=$(cd "$1" && pwd)
version=$2
shift 2
base=${BASE:-file://$folder}
list=${LIST:-9c7b8a52-3f6e-4a0e-8d57-6b1f0c2d4e01}
valid=${VALID_DAYS:-30}
private=$folder/private
ca=$folder/ca

dn() { # subject|issuer of a certificate, in the one-line form that lists use
    openssl x509 -in "$1" -noout -nameopt compat "-$2" | sed "s/^$2= *//"
}

if [ ! -f "$private/endorser.key" ]; then
    mkdir -p "$private" "$ca"
    chmod 700 "$private"
    cat > "$private/openssl.cnf" <<CONF
[ca]
default_ca = d
[d]
dir = $private
database = $private/index.txt
serial = $private/serial
crlnumber = $private/crlnumber
new_certs_dir = $private
certificate = $private/ca.pem
private_key = $private/ca.key
default_md = sha256
policy = p
default_crl_days = 3650
[p]
domainComponent = optional
organizationalUnitName = optional
commonName = supplied
[endorser]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth,emailProtection
CONF
    : > "$private/index.txt"
    echo 1000 > "$private/serial"
    echo 01 > "$private/crlnumber"
    openssl req -x509 -new -newkey rsa:2048 -nodes -sha256 -days 3650 -keyout "$private/ca.key" \
        -out "$private/ca.pem" -subj '/DC=org/DC=example/CN=Test CA for image lists' \
        -addext keyUsage=critical,keyCertSign,cRLSign 2> "$private/log"
    openssl req -new -newkey rsa:2048 -nodes -keyout "$private/endorser.key" \
        -out "$private/endorser.csr" -subj '/DC=org/DC=example/OU=People/CN=Test Endorser' 2>> "$private/log"
    openssl ca -batch -notext -config "$private/openssl.cnf" -extensions endorser -days 3650 \
        -in "$private/endorser.csr" -out "$private/endorser.pem" 2>> "$private/log"
    openssl ca -gencrl -config "$private/openssl.cnf" -out "$private/ca.crl" 2>> "$private/log"
    hash=$(openssl x509 -in "$private/ca.pem" -noout -subject_hash)
    cp "$private/ca.pem" "$ca/$hash.0"
    cp "$private/ca.crl" "$ca/$hash.r0"
    printf 'TO Issuer "%s" \\\n  PERMIT Subject "/DC=org/DC=example/OU=People/.*"\n' \
        "$(dn "$private/ca.pem" subject)" > "$ca/$hash.namespaces"
fi

mkdir -p "$folder/images"
images=
for given in "$@"; do
    identifier=${given%%=*}
    file=${given#*=}
    format=RAW
    case $file in
    *:*) format=${file##*:} file=${file%:*} ;;
    esac
    name=$identifier-$version
    cp "$file" "$folder/images/$name"
    size=$(stat -c %s "$folder/images/$name")
    sha512=$(sha512sum "$folder/images/$name" | cut -d' ' -f1)
    images="$images${images:+,}{\"hv:image\":{\"dc:identifier\":\"$identifier\",\"dc:title\":\"$identifier\",
\"dc:description\":\"\",\"hv:uri\":\"$base/images/$name\",\"hv:size\":$size,\"hv:version\":\"$version\",
\"hv:hypervisor\":\"KVM\",\"hv:format\":\"$format\",\"sl:arch\":\"$(uname -m)\",\"sl:os\":\"Linux\",
\"sl:osversion\":\"1\",\"sl:comments\":\"\",\"sl:checksum:sha512\":\"$sha512\"}}"
done

cat > "$private/list.json" <<JSON
{"hv:imagelist":{"dc:identifier":"$list","dc:title":"Test list","dc:description":"","dc:source":"",
"dc:date:created":"$(date -u -d '-1 minute' +%Y-%m-%dT%H:%M:%SZ)",
"dc:date:expires":"$(date -u -d "+$valid days" +%Y-%m-%dT%H:%M:%SZ)",
"hv:version":"$version","hv:uri":"$base/image.list",
"hv:endorser":{"hv:x509":{"hv:dn":"$(dn "$private/endorser.pem" subject)",
"hv:ca":"$(dn "$private/endorser.pem" issuer)","hv:email":"nobody@example.org","dc:creator":"test"}},
"hv:images":[$images]}}
JSON
openssl smime -sign -md sha256 -in "$private/list.json" -signer "$private/endorser.pem" \
    -inkey "$private/endorser.key" -out "$folder/.image.list"
mv "$folder/.image.list" "$folder/image.list"
echo "$folder/image.list: version $version"
