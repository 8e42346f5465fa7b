#!/bin/sh
# By the environment: REGION, ADDRESS (this container's own), ADMIN (the address that the rehearsal itself comes from),
# SEED (what credentials are made from). /world is the rehearsal's folder.
set -eu
mkdir -p /world/hosts /world/tls /world/instances

if [ ! -e /world/tls/server.crt ]; then
    cd /world/tls
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=rehearsal CA" \
        -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout ca.key -out ca.new 2> /dev/null
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=s3.$REGION.amazonaws.com" \
        -addext "subjectAltName=DNS:s3.$REGION.amazonaws.com,DNS:*.s3.$REGION.amazonaws.com,DNS:secretsmanager.$REGION.amazonaws.com,DNS:logs.$REGION.amazonaws.com" \
        -keyout server.key -out server.csr 2> /dev/null
    openssl x509 -req -in server.csr -CA ca.new -CAkey ca.key -CAcreateserial -days 30 -copy_extensions copy \
        -out server.crt 2> /dev/null
    mv ca.new ca.crt
    cd /
fi

ip address replace 169.254.169.254/32 dev eth0
python3 /usr/local/lib/side/imds.py 2> /var/log/imds.log &
# bigger objects are kept in files
MOTO_S3_DEFAULT_KEY_BUFFER_SIZE=1048576 python3 /usr/local/lib/side/aws.py &
# names that this network's own resolver does not know come from the host's
dnsmasq --keep-in-foreground --user=root --log-facility=- --no-hosts --no-resolv --server=127.0.0.11 --hostsdir=/world/hosts \
    --local=/node/ --local-ttl=10 --cache-size=0 \
    --address="/s3.$REGION.amazonaws.com/$ADDRESS" --address="/secretsmanager.$REGION.amazonaws.com/$ADDRESS" \
    --address="/logs.$REGION.amazonaws.com/$ADDRESS" --listen-address="$ADDRESS" --bind-interfaces \
    --pid-file=/run/dnsmasq.pid &
nginx &
wait
