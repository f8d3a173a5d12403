"""The worker processes that run models and codecs, as the main process uses them."""
