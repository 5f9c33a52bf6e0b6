"""The format of nblstm's files, checks of what a file holds, and files of other libraries."""
