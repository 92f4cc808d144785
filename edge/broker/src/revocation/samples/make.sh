#!/bin/sh
# Makes the samples beside it anew with OpenSSL 3: what the tests' other maker of lists, rcgen, does
# not sign. In each file are an authority's certificate and two lists of it, each of which revokes the
# certificate with serial number 7: the first is signed with SHA-1, the second with SHA-256. The keys
# are not kept.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$work"
cat > ca.cnf <<'END'
[ca]
default_ca = fleet
[fleet]
database = index.txt
default_crl_days = 36500
END
printf 'R\t491231235959Z\t250101000000Z\t07\tunknown\t/CN=device\n' > index.txt

# sample NAME KEY-ALGORITHM KEY-OPTION SIGNATURE-OPTION..
sample() {
    name=$1 algorithm=$2 option=$3
    shift 3
    openssl req -x509 -nodes -days 36500 -subj /CN=fleet \
        -newkey "$algorithm" -pkeyopt "$option" -keyout key.pem -out "$here/$name.pem"
    for digest in sha1 sha256; do
        openssl ca -gencrl -config ca.cnf -cert "$here/$name.pem" -keyfile key.pem \
            -md "$digest" "$@" -out list.pem
        cat list.pem >> "$here/$name.pem"
    done
}

sample rsa rsa rsa_keygen_bits:2048
sample rsa-pss rsa rsa_keygen_bits:2048 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest
sample ecdsa ec ec_paramgen_curve:P-256
