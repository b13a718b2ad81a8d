#!/bin/sh
# Run Ceph's S3 gateway, without a cluster, on 127.0.0.1:PORT, in the foreground, for tests/contract/test_fetcher_s3.py:
#     tests/contract/start_rgw.sh ROOT PORT &
#     OVERSEER_TEST_S3=http://access:secret@127.0.0.1:PORT pytest tests/contract/test_fetcher_s3.py
# ROOT is a folder for a Debian system of its own (700 MB), made at the first run. Needs root and debootstrap.
# What this gateway cannot show, the tests skip by name: its ranges begin at the wrong byte, under right headers,
# and what came in parts is given back a few kilobytes a second.
set -eu
root=$1 port=$2

if [ ! -x "$root/usr/bin/radosgw" ]; then
    debootstrap --variant=minbase trixie "$root"
    chroot "$root" apt-get install --yes --quiet --no-install-recommends radosgw ceph-common
fi
rm -rf "$root/gateway"
mkdir "$root/gateway"
cat >"$root/gateway/ceph.conf" <<CONF
[global]
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
[client.rgw.a]
rgw_backend_store = dbstore
rgw_config_store = dbstore
dbstore_db_dir = /gateway
dbstore_config_uri = file:/gateway/config.db
rgw_data = /gateway
rgw_frontends = beast endpoint=127.0.0.1:$port
rgw_run_sync_thread = false
log_file = /gateway/log
CONF
options="-c /gateway/ceph.conf --no-mon-config -n client.rgw.a"
chroot "$root" radosgw-admin $options user create --uid=ann --display-name=ann \
    --access-key=access --secret-key=secret >/dev/null
exec chroot "$root" radosgw $options -f
