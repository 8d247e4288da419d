"""What to type where there is no bundler yet: how a bundle is checked with plain tools, and then set up.

The tools are tar, sha256sum, sed, base64, grep and openssl. Lines to type are indented by two. From its standard input
tar does not decompress by itself, and `head` bounds what a sparse file would fill up.
"""

from __future__ import annotations

_CHECK = """\
  umask 077; mkdir ~/FOLDER; cd ~/FOLDER
  b=/media/usb/FOLDER.tar     # a bundle in volumes first: cat FOLDER.tar.[0-9]* >FOLDER.tar
  tar xOf - FOLDER/manifest.json <$b | head -c 512M >manifest.json

By the id that was approved, as you were told over another channel than the bundle's:

  echo 'ID  manifest.json' | sha256sum -c

Or by the signature beside the bundle, and the signer's public key release.pub that you have from another channel:

  head -c 1M $b.sig.json >envelope
  sed -n 's/^ "payload": "\\(.*\\)",$/\\1/p' envelope | base64 -d >payload
  sed -n 's/^   "sig": "\\(.*\\)"$/\\1/p' envelope | sed -n 1p | base64 -d >sig     # 2p: the second signer's
  t=application/vnd.in-toto+json
  { printf 'DSSEv1 %d %s %d ' ${#t} $t $(wc -c <payload); cat payload; } >signed
  openssl pkeyutl -verify -pubin -inkey release.pub -rawin -in signed -sigfile sig     # an Ed25519 key
  openssl dgst -sha256 -verify release.pub -signature sig signed                       # an ECDSA key
  id=$(sha256sum <manifest.json | cut -c -64)
  s='"predicateType":"https://slsa.dev/provenance/v1","subject":[{"digest":{"sha256":"'$id'"},"name":"FOLDER"}]}'
  [ "$(tail -c ${#s} payload)" = "$s" ] && echo OK
  grep -o '"expires":"[^"]*"' payload; date -u +%FT%TZ     # if it has an end, that is still to come

sha256sum has to say OK; or openssl that it verified the signature, and the line before the last one OK.
"""
_SET_UP = """\
  tar xOf - FOLDER/bootstrap/install.sh <$b | head -c 1M >install.sh
  grep -A 2 '"path": "bootstrap/install.sh"' manifest.json |
    sed -n 's/^   "sha256": "\\(.*\\)",$/\\1  install.sh/p' | sha256sum -c
  sh install.sh $b --id ID --address A     # or --key release.pub
"""


def check(folder: str) -> str:
    """Whether somebody vouches for the bundle that unpacks to `folder`: by its id, or by a signature."""
    return _CHECK.replace("FOLDER", folder)


def set_up(folder: str) -> str:
    """After `check`: the one program that has to be checked by hand, and how it is started."""
    return _SET_UP.replace("FOLDER", folder)
