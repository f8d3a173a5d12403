"""The codecs and links that come with codecbench: one file each, registered like any plugin."""
