"""Files: nblstm's own container, other software's, and what to do with a damaged one; knows no layer and no network."""
