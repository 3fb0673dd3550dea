"""Codecs that ticodec is measured against, a file for each way of calling them."""
